"""The status of an `InferenceModel`: what the operator saw, in the conventions of kstatus."""

from typing import Annotated, Literal

from pydantic import Field

from headrace_api.base import KubernetesDocument
from headrace_api.wire import WorkerState

ConditionType = Literal["Ready", "Reconciling", "Stalled", "ConfigValid", "WorkersReady", "ModelLoaded", "UpToDate"]


class Condition(KubernetesDocument):
    """One condition, as Kubernetes' `metav1.Condition`."""

    type: ConditionType = Field(description="What the condition is about.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(description="Why, as one stable word.")
    message: str = Field(description="Why, in a sentence, and what to do.")
    observed_generation: int = Field(description="The generation of the spec that this was said of.")
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})] = Field(
        description="When status last changed."
    )


class ScalingStatus(KubernetesDocument):
    """The last scaling decision: what the operator's scaler goes on from, also after a restart."""

    desired_replicas: int = Field(ge=0, description="Workers that shall run.")
    decided_by: Literal["autoscaler", "spec.replicas", "spec.enabled"] = Field(description="Who decided.")
    reason: str = Field(description="Why, with the numbers that the decision came from.")
    time: Annotated[str, Field(json_schema_extra={"format": "date-time"})] = Field(description="When.")


class RolloutStatus(KubernetesDocument):
    """Which revision of the rendered workload runs; a revision is named by the hash of its content."""

    revision: str = Field(description="The revision that runs or is being rolled out.")
    ready_revision: str | None = Field(default=None, description="The newest revision whose workers were all ready.")
    failed_revision: str | None = Field(default=None, description="A revision that was stopped or rolled back.")


class PendingRender(KubernetesDocument):
    """A newer rendering that only the operator's own defaults changed; it waits for approval."""

    revision: str = Field(description="Its hash, the value that the annotation headrace.dev/approve-render takes.")
    changes: list[str] = Field(default=[], description="The fields that would change.")


class StartingWorker(KubernetesDocument):
    """A worker that is connected to the queue and not ready yet, or not quite as it should be, by its own account."""

    worker: str = Field(description="What it calls itself: in Kubernetes, its pod's name.")
    state: WorkerState = Field(
        description="How far it is: fetching weights, loading them, warming up; ready, where something is amiss."
    )
    detail: str | None = Field(
        default=None, description="What it is at, why it has to begin again, or which adapter it lacks, and why."
    )
    done_bytes: int | None = Field(default=None, description="Bytes of the weights that it has.")
    total_bytes: int | None = Field(default=None, description="Bytes of the weights, as far as their size is known.")


class InferenceModelStatus(KubernetesDocument):
    """What the operator saw."""

    observed_generation: int | None = Field(default=None, description="The generation that this status speaks of.")
    conditions: list[Condition] = Field(
        default=[],
        description="Ready, Reconciling, Stalled, ConfigValid, WorkersReady, ModelLoaded, UpToDate.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    replicas: int | None = Field(default=None, description="Workers that there are.")
    ready_replicas: int | None = Field(default=None, description="Workers that take requests.")
    workers: str | None = Field(default=None, description="Ready and desired workers, as 1/2.")
    selector: str | None = Field(default=None, description="The workers' labels, for the scale subresource.")
    model_name: str | None = Field(default=None, description="The name that clients ask for.")
    queued: int | None = Field(default=None, description="Requests that wait for a worker.")
    running: int | None = Field(default=None, description="Requests that workers have.")
    starting: list[StartingWorker] | None = Field(
        default=None,
        description="Workers that are connected to the queue and not ready yet, or lack an adapter, the first ten by "
        "name; told now and then, so that a long download costs few writes.",
    )
    fingerprint: str | None = Field(
        default=None,
        description="The hash of the generator section of the running revision's worker_config.toml, by which its "
        "workers register.",
    )
    config_hash: str | None = Field(
        default=None, description="The hash of worker_config.toml in the revision that runs or is being rolled out."
    )
    endpoint: str | None = Field(default=None, description="The base URL of the OpenAI API that serves the model.")
    scaling: ScalingStatus | None = Field(default=None, description="The last scaling decision.")
    rollout: RolloutStatus | None = Field(default=None, description="Which revision runs.")
    pending_render: PendingRender | None = Field(
        default=None, description="A newer rendering of the operator's own that waits for approval."
    )
