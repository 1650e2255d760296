"""The status of an `InferenceModel`: what the operator saw, in the conventions of kstatus."""

from typing import Annotated, Literal

from pydantic import Field

from headrace_api.base import KubernetesDocument

ConditionType = Literal["Ready", "Reconciling", "Stalled", "ConfigValid", "WorkersReady", "ModelLoaded"]


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


class InferenceModelStatus(KubernetesDocument):
    """What the operator saw."""

    observed_generation: int | None = Field(default=None, description="The generation that this status speaks of.")
    conditions: list[Condition] = Field(
        default=[],
        description="Ready, Reconciling, Stalled, ConfigValid, WorkersReady, ModelLoaded.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    replicas: int | None = Field(default=None, description="Workers that there are.")
    ready_replicas: int | None = Field(default=None, description="Workers that take requests.")
    workers: str | None = Field(default=None, description="Ready and desired workers, as 1/2.")
    selector: str | None = Field(default=None, description="The workers' labels, for the scale subresource.")
    model_name: str | None = Field(default=None, description="The name that clients ask for.")
    queued: int | None = Field(default=None, description="Requests that wait for a worker.")
    running: int | None = Field(default=None, description="Requests that workers have.")
    fingerprint: str | None = Field(default=None, description="The hash of the worker's generator section.")
    config_hash: str | None = Field(default=None, description="The hash of the rendered ConfigMap.")
