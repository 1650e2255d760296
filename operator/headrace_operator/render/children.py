"""All objects of one model, in the order in which they are applied."""

from headrace_api.inference_model import InferenceModelSpec
from headrace_operator.render import revision as revisions
from headrace_operator.render.config import RenderConfig
from headrace_operator.render.deployment import deployment
from headrace_operator.render.disruption import disruption_budget
from headrace_operator.render.network import network_policy
from headrace_operator.render.objects import Object, hashed
from headrace_operator.render.pod_monitor import pod_monitor
from headrace_operator.render.revision import Revision
from headrace_operator.render.service import service
from headrace_operator.render.service_account import service_account


def children(
    metadata: Object, spec: InferenceModelSpec, config: RenderConfig, revision: Revision | None = None
) -> list[Object]:
    """Every object that shall exist for the model; what pods need comes before the workload.

    Args:
        metadata: the model's `metadata`, of which name, namespace and uid are used.
        spec: the model's spec.
        config: the installation's values; `config.images` has the model's engine.
        revision: what the workers shall be made of, where that is not what the spec renders to now.
    """
    revision = revision or revisions.render(metadata["name"], spec, config)
    found = [revisions.config_map(metadata, spec, revision)]
    if spec.enabled:
        found += _running(metadata, spec, config, revision)
    return [hashed(item) for item in found]


def _running(metadata: Object, spec: InferenceModelSpec, config: RenderConfig, revision: Revision) -> list[Object]:
    return [
        service_account(metadata),
        *([network_policy(metadata, spec, config)] if config.network_policies else []),
        service(metadata, spec),
        disruption_budget(metadata),
        *([pod_monitor(metadata)] if config.pod_monitors else []),
        deployment(metadata, spec, revision),
    ]
