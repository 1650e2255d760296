"""The documents that Headrace reads: what the field reference and the editors' JSON schemas are made of."""

from dataclasses import dataclass

from pydantic import BaseModel

from headrace_api import ray_serve_llm, registry, two_file
from headrace_api.inference_model import InferenceModelSpec
from headrace_api.inference_model_status import InferenceModelStatus
from headrace_api.worker_config import WorkerConfig


@dataclass(frozen=True)
class Document:
    """One document."""

    title: str
    about: str
    model: type[BaseModel]
    schema: str | None = None
    """The name of its JSON schema in `crds/schemas/`; None where it is part of another document."""
    root: str = ""
    """What every path in it begins with."""


MANIFEST = Document(
    "InferenceModel: spec",
    "The resource that people write; `kubectl explain inferencemodels.headrace.dev.spec` prints the same.",
    InferenceModelSpec,
    "inference-model",
    "spec",
)
DOCUMENTS = (
    MANIFEST,
    Document("InferenceModel: status", "What the operator writes.", InferenceModelStatus, root="status"),
    Document("worker_config.toml", "The worker's file, edition 1.", WorkerConfig, "worker-config"),
    Document("env.toml", "The worker's environment in the two-file form.", two_file.EnvFile, "env"),
    Document("cap.toml", "The worker's model in the two-file form.", two_file.CapFile, "cap"),
    Document("Model registry", "One YAML file of RayLLM's model registry.", registry.LLMApp, "registry"),
    Document("ray.serve.llm", "One LLMConfig of today's ray.serve.llm.", ray_serve_llm.LLMConfig, "ray-serve-llm"),
)
