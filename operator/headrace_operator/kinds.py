"""The kinds of objects that the operator works with, in one table: a new child kind is one line here.

The watches, the regular lists, the paths of requests and what is kept in memory of each object all come from this
table; the chart's Role names the same resources.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from headrace_api import inference_model as api
from headrace_api import names
from headrace_operator import trim
from headrace_operator.observed import Key, Object, controller

OURS = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"
"""The label selector of everything that the operator makes; nothing else reaches its memory."""


def key_of(item: Object) -> Key:
    """Namespace and name."""
    return item["metadata"]["namespace"], item["metadata"]["name"]


def owner_key(item: Object) -> Key | None:
    """The model that controls `item`, by its owner reference."""
    owner = controller(item)
    if owner and owner["kind"] == api.KIND and owner["apiVersion"].split("/")[0] == api.GROUP:
        return item["metadata"]["namespace"], owner["name"]
    return None


def pod_key(item: Object) -> Key | None:
    """The model that a worker pod belongs to, by its labels."""
    labels = item["metadata"].get("labels") or {}
    if labels.get(names.LABEL_MANAGED_BY) != names.MANAGED_BY or names.LABEL_MODEL not in labels:
        return None
    return item["metadata"]["namespace"], labels[names.LABEL_MODEL]


def looks_left_behind(item: Object) -> Key | None:
    """The model that an object which nobody controls was made for, by its labels.

    Somebody may have taken its owner away. That it is labelled so does not make it the model's: a reconcile finds that
    its child is missing, and asks who made the object that has the child's name.
    """
    return None if controller(item) else pod_key(item)


@dataclass(frozen=True)
class Kind:
    """One kind: how it is named, which of its objects are looked at, and what is kept of each."""

    name: str
    group: str
    version: str
    plural: str
    key: Callable[[Object], Key | None] = owner_key
    """The model that an object belongs to; None: it is nobody's."""
    labels: str = OURS
    """The label selector of watches and lists."""
    trim: Callable[[Object], None] = trim.child
    """Takes from an object, in place, what no decision needs."""

    @property
    def resource(self) -> tuple[str, str, str]:
        """Group, version and plural, as kopf names a resource."""
        return self.group, self.version, self.plural

    @property
    def api_version(self) -> str:
        """As in an object's `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def index(self) -> str:
        """The name of the kind's index."""
        return self.plural

    def path(self, namespace: str | None) -> str:
        """The URL path of all objects of this kind, in one namespace or in all."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return f"{root}/namespaces/{namespace}/{self.plural}" if namespace else f"{root}/{self.plural}"


MODEL = Kind(api.KIND, api.GROUP, api.VERSION, api.PLURAL, key=key_of, labels="", trim=trim.model)
POD = Kind("Pod", "", "v1", "pods", key=pod_key, trim=trim.pod)
CHILDREN = (
    Kind("ConfigMap", "", "v1", "configmaps"),
    Kind("ServiceAccount", "", "v1", "serviceaccounts"),
    Kind("NetworkPolicy", "networking.k8s.io", "v1", "networkpolicies"),
    Kind("Service", "", "v1", "services"),
    Kind("PodDisruptionBudget", "policy", "v1", "poddisruptionbudgets"),
    Kind("Deployment", "apps", "v1", "deployments", trim=trim.workload),
)
"""What a model is made of."""
POD_MONITOR = Kind("PodMonitor", "monitoring.coreos.com", "v1", "podmonitors")
"""A child where the cluster has this kind."""


def watched(*, pod_monitors: bool) -> tuple[Kind, ...]:
    """All kinds that are observed."""
    return MODEL, *CHILDREN, *((POD_MONITOR,) if pod_monitors else ()), POD


def by_name(kinds: Iterable[Kind]) -> dict[str, Kind]:
    """The kinds by the name that objects carry as `kind`."""
    return {kind.name: kind for kind in kinds}
