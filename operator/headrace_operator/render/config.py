"""What the rendering needs to know beside the model: the chart's values."""

from pydantic import Field

from headrace_api.base import Document
from headrace_api.rules.finding import Facts
from headrace_api.worker_config import EngineType


class RenderConfig(Document):
    """Values of the installation that all models share."""

    queue_url: str
    """The queue that workers pull from unless the model names another."""
    token_secret_name: str | None = None
    """The Secret, in the model's namespace, with the worker token; without it workers register without a token."""
    token_secret_key: str = "token"  # noqa: S105
    images: dict[EngineType, str]
    """The runtime image of each engine that this installation offers."""
    image_pull_policy: str = "IfNotPresent"
    grace_seconds: int = Field(default=60, ge=10)
    """How long a worker may take to finish its requests when it is told to stop."""
    node_lost_seconds: int = Field(default=30, ge=0)
    """How long after its node stops answering a worker is replaced."""
    network_policies: bool = True
    """Whether workers get a NetworkPolicy: asked for metrics only, reaching the queue and model sources only."""
    pod_monitors: bool = False
    """Whether workers get a PodMonitor; the cluster must have the Prometheus operator's CRD."""

    gpus_per_node: int | None = Field(default=None, ge=1)
    """GPUs of the largest node, for the rules; not checked when absent."""

    @property
    def facts(self) -> Facts:
        """What the rules may know of the cluster."""
        return Facts(gpus_per_node={} if self.gpus_per_node is None else {"the largest node": self.gpus_per_node})

    def image(self, engine: EngineType) -> str | None:
        """The image for an engine; `luminous`, any engine that can load the weights, is vLLM unless it has its own."""
        return self.images.get(engine) or (self.images.get("VLLMEngine") if engine == "luminous" else None)
