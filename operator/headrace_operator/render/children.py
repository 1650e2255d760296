"""All objects of one model, in the order in which they are applied."""

from collections.abc import Sequence

from headrace_api.inference_model import InferenceModelSpec
from headrace_operator.render import adapters
from headrace_operator.render import revision as revisions
from headrace_operator.render.config import RenderConfig
from headrace_operator.render.deployment import Workload, deployment
from headrace_operator.render.disruption import disruption_budget
from headrace_operator.render.network import network_policy
from headrace_operator.render.objects import Object, hashed
from headrace_operator.render.pod_monitor import pod_monitor
from headrace_operator.render.revision import Revision
from headrace_operator.render.service import service
from headrace_operator.render.service_account import service_account


def children(  # noqa: PLR0913, PLR0917  # the model, and what was decided on it
    metadata: Object,
    spec: InferenceModelSpec,
    config: RenderConfig,
    workload: Workload | None = None,
    others: Sequence[Revision] = (),
    replicas: int | None = None,
) -> list[Object]:
    """Every object that shall exist for the model; what pods need comes before the workload.

    Args:
        metadata: the model's `metadata`, of which name, namespace and uid are used.
        spec: the model's spec.
        config: the installation's values; `config.images` has the model's engine.
        workload: what the workers shall be made of, where that is not what the spec renders to now.
        others: revisions of further workers that still run.
        replicas: how many workers were decided on; as the spec begins when None.
    """
    workload = workload or Workload(revisions.render(metadata["name"], spec, config))
    found: list[Object] = []
    if isinstance(workload.revision, Revision):
        known = workload.revision
        found.append(revisions.config_map(metadata, spec, known))
    else:  # what adopted workers talk to is known from the spec only
        known = revisions.render(metadata["name"], spec, config)
    if spec.enabled:
        serving = [known, *(one for one in others if one.name != known.name)]
        found += _running(metadata, spec, config, serving)
        found.append(deployment(metadata, spec, workload, spec.first_replicas if replicas is None else replicas))
    return [hashed(item) for item in found]


def _running(metadata: Object, spec: InferenceModelSpec, config: RenderConfig, serving: list[Revision]) -> list[Object]:
    sources = [one.source for one in spec.engine.adapters]
    return [
        *([adapters.config_map(metadata, spec)] if adapters.beside(spec) else []),
        service_account(metadata),
        *([network_policy(metadata, serving, config, sources)] if config.network_policies else []),
        service(metadata, spec),
        disruption_budget(metadata),
        *([pod_monitor(metadata, config.pod_monitor_labels)] if config.pod_monitors else []),
    ]
