"""What the live workload and its pods say of revisions."""

from dataclasses import dataclass

from headrace_api import names
from headrace_operator.observed import Object, Observed
from headrace_operator.render import revision as revisions
from headrace_operator.render.revision import Revision

_DEADLINE = "ProgressDeadlineExceeded"


@dataclass(frozen=True)
class Live:
    """A model's Deployment and pods, as they were seen."""

    observed: Observed

    @property
    def deployment(self) -> Object:
        """The Deployment; empty when there is none."""
        return self.observed.deployment or {}

    @property
    def revision(self) -> str:
        """The name of the revision that the Deployment's pods are of; empty when it has none."""
        return _revision(self.deployment["spec"]["template"]) if self.deployment else ""

    def others(self, than: str) -> list[Revision]:
        """The revisions of the pods that there are, other than one, as far as their ConfigMaps are there."""
        found = sorted({_revision(pod) for pod in self.observed.pods} - {"", than})
        return [revision for name in found if (revision := self.stored(name))]

    def annotation(self, name: str) -> str:
        """An annotation of the Deployment; empty when it has none."""
        return str((self.deployment.get("metadata", {}).get("annotations") or {}).get(name, ""))

    def stored(self, name: str) -> Revision | None:
        """A revision from its ConfigMap; None when there is none, or not with what it is named by."""
        full = f"{self.observed.model['metadata']['name']}-{name}"
        maps = (child for child in self.observed.children if child["kind"] == "ConfigMap")
        return next((revisions.read(one) for one in maps if one["metadata"]["name"] == full), None)

    @property
    def complete(self) -> bool:
        """Whether all workers that are asked for, and some are, are of the Deployment's revision and ready."""
        status, wanted = self.deployment.get("status") or {}, self.deployment.get("spec", {}).get("replicas", 0)
        counts = {status.get(name, 0) for name in ("replicas", "updatedReplicas", "readyReplicas")}
        return bool(wanted and self._is_current and counts == {wanted})

    @property
    def deadline_exceeded(self) -> bool:
        """Whether the Deployment's revision went without a further ready worker for too long."""
        conditions = (self.deployment.get("status") or {}).get("conditions") or []
        return self._is_current and any(one.get("reason") == _DEADLINE for one in conditions)

    @property
    def _is_current(self) -> bool:
        generation = self.deployment.get("metadata", {}).get("generation")
        return bool((self.deployment.get("status") or {}).get("observedGeneration") == generation)

    @property
    def paused(self) -> bool:
        """Whether the Deployment stays where it is."""
        return bool(self.deployment.get("spec", {}).get("paused"))

    def pods(self, *, of: str | None = None, other_than: str | None = None) -> list[Object]:
        """The workers of one revision, or of all others, without those that are ending or over."""
        found = (pod for pod in self.observed.pods if _is_of(_revision(pod), of, other_than))
        return [pod for pod in found if not _is_ending(pod)]

    def ready_pods(self, *, of: str | None = None, other_than: str | None = None) -> int:
        """Ready workers of one revision, or of all others."""
        return sum(map(_is_ready, self.pods(of=of, other_than=other_than)))


def _is_of(revision: str, of: str | None, other_than: str | None) -> bool:
    return of in {None, revision} and other_than != revision


def _revision(pod: Object) -> str:
    return str((pod.get("metadata", {}).get("annotations") or {}).get(names.ANNOTATION_REVISION, ""))


def _is_ending(pod: Object) -> bool:
    over = (pod.get("status") or {}).get("phase") in {"Failed", "Succeeded"}
    return over or bool(pod["metadata"].get("deletionTimestamp"))


def _is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
