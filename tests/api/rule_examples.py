"""For each rule, specs that it refuses or warns of, and specs that it lets pass. `s(...)` merges into a small model."""

from typing import Any

from headrace_api.accelerators import AcceleratorProfile
from headrace_api.rules.finding import Facts

Spec = dict[str, Any]


def s(engine: Spec | None = None, **more: Any) -> Spec:
    """A spec; `engine` is merged into the small model's."""
    return {"engine": {"type": "VLLMEngine", "modelId": "org/model", **(engine or {})}, **more}


def chat(**fields: Any) -> Spec:
    """A spec with a prompt format, complete but for `fields`; None leaves one out."""
    given = {
        "system": "{instruction}\n",
        "assistant": "{instruction}",
        "trailingAssistant": "",
        "user": "{instruction}",
        **fields,
    }
    return s({"generation": {"promptFormat": {key: value for key, value in given.items() if value is not None}}})


def scaled(queries: int | None = None, engine: Spec | None = None, **policy: Any) -> Spec:
    """A spec with autoscaling."""
    deployment: Spec = {"autoscaling": policy}
    return s(engine, deployment={**deployment, "maxConcurrentQueries": queries} if queries else deployment)


def stops(*sequences: Any, engine: Spec | None = None) -> Spec:
    """A spec with stopping sequences."""
    return s({**(engine or {}), "generation": {"stoppingSequences": list(sequences)}})


def adapters(*names: str, source: str = "org/adapter", engine: Spec | None = None) -> Spec:
    """A spec with adapters."""
    return s({**(engine or {}), "adapters": [{"name": name, "source": source} for name in names]})


def wanting(**resources: float) -> Spec:
    """A spec whose workers ask for custom resources."""
    return s(scaling={"resourcesPerWorker": resources})


HEADS = Facts(model_config={"num_attention_heads": 40, "num_key_value_heads": 8})
NODES = Facts(gpus_per_node={"a": 4, "b": 8})
SMALL_GPU = Facts(
    gpu_memory_gib=8,
    model_config={
        "model_type": "llama",
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "intermediate_size": 11008,
        "vocab_size": 32000,
        "max_position_embeddings": 4096,
    },
)
A10 = AcceleratorProfile(node_selector={"gpu": "a10"}, gpus_per_node=4)
MIG = AcceleratorProfile(resource_name="nvidia.com/mig-1g.10gb")
OFFERED = Facts(accelerators={"A10": A10, "mig": MIG}, default_accelerator="mig")
FACTS = {
    "HR104": HEADS,
    "HR105": HEADS,
    "HR106": NODES,
    "HR111": NODES,
    "HR113": OFFERED,
    "HR117": OFFERED,
    "HR118": OFFERED,
    "HR119": Facts(accelerators={}),
    "HR501": SMALL_GPU,
    "HR502": Facts(gpu_memory_gib=24, model_config=SMALL_GPU.model_config),
}

_S3 = {"bucketUri": "s3://bucket/folder/"}
_TRT = {"type": "TRTLLMEngine"}
_EMBEDDING = {"type": "EmbeddingEngine"}
_LLAMA = {"type": "LlamaCppEngine"}
_LUMINOUS = {"type": "luminous"}
_A10 = {"resourcesPerWorker": {"accelerator_type_a10": 0.01}}
_GPU = {"nvidia.com/gpu": 1}

EXAMPLES: dict[str, tuple[list[Spec], list[Spec]]] = {
    "HR101": ([s(scaling={"numGpusPerWorker": 2})], [s(scaling={"numGpusPerWorker": 1, "numWorkers": 2})]),
    "HR102": (
        [s({"pipelineParallelSize": 2}, scaling={"numWorkers": 3}), s({"pipelineParallelSize": 2})],
        [s({"pipelineParallelSize": 2}, scaling={"numWorkers": 4})],
    ),
    "HR103": (
        [s(scaling={"numGpusPerWorker": 0.5, "numWorkers": 2})],
        [s(scaling={"numGpusPerWorker": 0.5}), s(scaling={"numGpusPerWorker": 0, "numWorkers": 2})],
    ),
    "HR104": ([s(scaling={"numWorkers": 16})], [s(scaling={"numWorkers": 8}), s(scaling={"numWorkers": 40})]),
    "HR105": ([s(scaling={"numWorkers": 5})], [s(scaling={"numWorkers": 4}), s(scaling={"numWorkers": 40})]),
    "HR106": (
        [s(scaling={"numWorkers": 16, "placementStrategy": "STRICT_PACK"})],
        [s(scaling={"numWorkers": 8, "placementStrategy": "STRICT_PACK"}), s(scaling={"numWorkers": 16})],
    ),
    "HR107": ([s(scaling={"numGpusPerWorker": 0.25})], [s(scaling={"numGpusPerWorker": 1})]),
    "HR108": ([s(_LLAMA, scaling={"numWorkers": 2}), s({**_LLAMA, "pipelineParallelSize": 2})], [s(_LLAMA), s()]),
    "HR109": (
        [s(_TRT, scaling={"numGpusPerWorker": 0})],
        [s(_TRT), s(_TRT, scaling={"numGpusPerWorker": 1}), s(scaling={"numGpusPerWorker": 0})],
    ),
    "HR110": (
        [s(scaling={"numGpusPerWorker": 0, "numWorkers": 2})],
        [s(scaling={"numGpusPerWorker": 0}), s(scaling={"numWorkers": 2})],
    ),
    "HR111": ([s(scaling={"numWorkers": 16})], [s(scaling={"numWorkers": 8})]),
    "HR112": (
        [
            wanting(accelerator_type_a10=0.01, accelerator_type_h100=0.01),
            {**wanting(accelerator_type_a10=0.01), "ray": {"acceleratorType": "A10G"}},
        ],
        [
            {**wanting(accelerator_type_a10g=0.01), "ray": {"acceleratorType": "NVIDIA_A10G"}},
            wanting(**{"accelerator_type:A10": 0.001, "accelerator_type_a10": 0.01}),
            wanting(accelerator_type_a10=0.01, accelerator_type_h100=0),
        ],
    ),
    "HR113": (
        [wanting(accelerator_type_h100=0.01), s(ray={"acceleratorType": "H100"})],
        [wanting(accelerator_type_a10=0.01), s(ray={"acceleratorType": "NVIDIA_A10"}), s()],
    ),
    "HR114": (
        [s(scaling={"placementStrategy": "STRICT_SPREAD", "numWorkers": 2})],
        [
            s(scaling={"placementStrategy": "STRICT_SPREAD"}),
            s(scaling={"placementStrategy": "STRICT_PACK", "numWorkers": 2}),
        ],
    ),
    "HR115": (
        [s(scaling={"placementStrategy": "SPREAD", "numWorkers": 2})],
        [s(scaling={"placementStrategy": "PACK", "numWorkers": 2}), s(scaling={"placementStrategy": "SPREAD"})],
    ),
    "HR116": (
        [
            s({"engineKwargs": {"data_parallel_size": 4, "data_parallel_size_local": 2}}),
            s({"engineKwargs": {"data-parallel-rank": 0}}),
            s({"engineKwargs": {"data_parallel_external_lb": True}}),
        ],
        [
            s({"engineKwargs": {"data_parallel_size": 4, "data_parallel_size_local": 4}}),
            s({"engineKwargs": {"data_parallel_external_lb": False, "data_parallel_rank": None}}),
        ],
    ),
    "HR117": (
        [s(scaling={"numWorkers": 2}), s({"engineKwargs": {"data_parallel_size": 2}})],
        [s(), {**wanting(accelerator_type_a10=0.01), "scaling": {"numWorkers": 2, **_A10}}, s(_LLAMA)],
    ),
    "HR118": (
        [
            wanting(**{"rdma/hca": 0.5}),
            wanting(**{"/hca": 1}),
            wanting(**{"nvidia.com/mig-1g.10gb": 1}),
            {
                **wanting(**{"nvidia.com/gpu": 1}),
                "scaling": {"resourcesPerWorker": {**_GPU, "accelerator_type_a10": 1}},
            },
        ],
        [
            wanting(**{"rdma/hca": 1}),
            wanting(**{"nvidia.com/gpu": 1}),
            s(scaling={"numGpusPerWorker": 0, "resourcesPerWorker": {"nvidia.com/mig-1g.10gb": 1}}),
        ],
    ),
    "HR119": ([wanting(accelerator_type_a10=0.01), s(ray={"acceleratorType": "L4"})], [s(), wanting(special_node=1)]),
    "HR201": ([scaled(minReplicas=3, maxReplicas=2)], [scaled(minReplicas=0, maxReplicas=2)]),
    "HR202": (
        [scaled(initialReplicas=3, maxReplicas=2), scaled(initialReplicas=0, maxReplicas=2)],
        [scaled(initialReplicas=2, maxReplicas=2), scaled(minReplicas=0, initialReplicas=0)],
    ),
    "HR203": (
        [scaled(8, targetOngoingRequestsPerReplica=9)],
        [scaled(8, targetOngoingRequestsPerReplica=8), scaled(targetOngoingRequestsPerReplica=9)],
    ),
    "HR204": (
        [scaled(engine={"engineKwargs": {"max_num_seqs": 4}}, targetOngoingRequestsPerReplica=5)],
        [scaled(engine={"engineKwargs": {"max_num_seqs": 8}}, targetOngoingRequestsPerReplica=5)],
    ),
    "HR205": (
        [s({"engineKwargs": {"max_num_seqs": 4}}, deployment={"maxConcurrentQueries": 5})],
        [s({"engineKwargs": {"max_num_seqs": 5}}, deployment={"maxConcurrentQueries": 5})],
    ),
    "HR206": (
        [{**scaled(maxReplicas=2), "replicas": 3}, {**scaled(minReplicas=2, maxReplicas=3), "replicas": 2}],
        [{**scaled(minReplicas=2, maxReplicas=3), "replicas": 1}, s(replicas=3)],
    ),
    "HR207": (
        [scaled(lookBackPeriodSeconds=5)],
        [scaled(lookBackPeriodSeconds=10), scaled(lookBackPeriodSeconds=2, metricsIntervalSeconds=1)],
    ),
    "HR006": ([s({"runtimeEnv": {"env_vars": {"A": "1"}}})], [s({"runtimeEnv": {"envVars": {"A": "1"}}})]),
    "HR009": (
        [
            s(template={"nodeSelector": {"gpu": "a10"}}),
            s(template={"spec": "x"}),
            s(template={"spec": None}),
            s(template={"metadata": {"labels": {"a": 1}}}),
            s(template={"spec": {"volumes": {"name": "a"}}}),
            s(template={"spec": {"volumes": [{"name": "a", "configMap": "b"}]}}),
            s(template={"spec": {"containers": [{"name": "worker", "env": {"A": "b"}}]}}),
            s(template={"spec": {"containers": [{"name": "worker", "resources": "all"}]}}),
        ],
        [
            s(template={}),
            s(template={"metadata": {"labels": {"env": "a", "volumes": None}}, "spec": {"affinity": None}}),
            s(template={"spec": {"volumes": [{"$patch": "replace"}, {"name": "a", "emptyDir": {}}]}}),
        ],
    ),
    "HR401": (
        [{"engine": {"type": "VLLMEngine"}}],
        [s(), {"engine": {"type": "VLLMEngine", "hfModelId": "a/b"}, "queue": {"checkpointName": "m"}}],
    ),
    "HR402": ([s({"s3Mirror": _S3, "gcsMirror": {"bucketUri": "gs://b"}})], [s({"s3Mirror": _S3})]),
    "HR403": (
        [
            s({"s3Mirror": {"bucketUri": "gs://bucket/x"}}),
            s({"s3Mirror": {"bucketUri": "s3://"}}),
            s({"gcsMirror": {"bucketUri": "https://storage.googleapis.com/b"}}),
            s({"s3Mirror": {**_S3, "extraFiles": [{"bucketUri": "/x", "destinationPath": "/y"}]}}),
        ],
        [
            s({"s3Mirror": _S3}),
            s({"s3Mirror": {"bucketUri": "s3://anonymous@bucket/folder"}}),
            s({"gcsMirror": {"bucketUri": "gs://my-bucket"}}),
            s({"s3Mirror": {}}),
        ],
    ),
    "HR404": (
        [
            s({"s3Mirror": {**_S3, "s3SyncArgs": ["--region eu-west-1"]}}),
            s({"s3Mirror": {**_S3, "s3SyncArgs": ["no-sign-request"]}}),
            s({"s3Mirror": {**_S3, "s3SyncArgs": ["--sse", "AES256"]}}),
        ],
        [s({"s3Mirror": {**_S3, "s3SyncArgs": ["--no-sign-request", "--exclude", "a b*"]}})],
    ),
    "HR405": (
        [s({"s3Mirror": {**_S3, "extraFiles": [{"bucketUri": "s3://bucket/x", "destinationPath": "y"}]}})],
        [s({"s3Mirror": {**_S3, "extraFiles": [{"bucketUri": "s3://bucket/x", "destinationPath": "/y"}]}})],
    ),
    "HR406": (
        [s({"modelId": "model", "s3Mirror": _S3}), s({"modelId": "a/b/c", "gcsMirror": {"bucketUri": "gs://bucket"}})],
        [
            s({"modelId": "org/model", "s3Mirror": _S3}),
            s({"modelId": "model"}),
            s({"modelId": "model", "s3Mirror": _S3}, ray={"dialect": "ray-serve-llm"}),
        ],
    ),
    "HR407": (
        [
            s({"tokenizerPath": "t"}),
            s({**_TRT, "modelLocalPath": "./m"}),
            s({"weightSetDirectories": ["/a", "b"]}),
        ],
        [s({"tokenizerPath": "/t"}), s({**_TRT, "modelLocalPath": "/m"}), s({"weightSetDirectories": ["/a"]})],
    ),
    "HR408": (
        [{"engine": {"type": "VLLMEngine"}, "queue": {"checkpointName": "m"}}],
        [s(), {"engine": {"type": "luminous", "weightSetDirectories": ["/a"]}, "queue": {"checkpointName": "m"}}],
    ),
    "HR409": (
        [s({"schedulerPolicy": "MAX_UTILIZATION"}), s({"enableTrtOverlap": False}), s({"modelLocalPath": "/m"})],
        [s({**_TRT, "schedulerPolicy": "MAX_UTILIZATION"})],
    ),
    "HR410": ([s({"maxBatchSize": 8}), s({**_TRT, "optimize": "onnx"})], [s({**_EMBEDDING, "maxBatchSize": 8})]),
    "HR411": (
        [
            s({**_EMBEDDING, "generation": {"promptFormat": {}}}),
            s({**_EMBEDDING, "generation": {"stoppingSequences": ["a"]}}),
        ],
        [s(_EMBEDDING), s({"generation": {"stoppingSequences": ["a"]}})],
    ),
    "HR412": (
        [s({"tokenizerId": "a/b", "tokenizerPath": "/t"}), s({**_LLAMA, "tokenizerId": "a/b"})],
        [s({"tokenizerId": "a/b"})],
    ),
    "HR413": (
        [s(modelCache={}), s(modelCache={"persistentVolumeClaim": "models", "hostPath": "/models"})],
        [s(), s(modelCache={"persistentVolumeClaim": "models"}), s(modelCache={"hostPath": "/models"})],
    ),
    "HR414": ([s(modelCache={"hostPath": "/models"})], [s(modelCache={"persistentVolumeClaim": "models"})]),
    "HR421": ([chat(user=None), chat(trailingAssistant=None)], [chat(), s({"generation": {"promptFormat": {}}})]),
    "HR422": ([chat(user="x"), chat(assistant="{system}"), chat(system="x")], [chat(), chat(system="")]),
    "HR423": (
        [chat(systemInUser=True)],
        [chat(systemInUser=True, user="{system}{instruction}"), chat(systemInUser=False)],
    ),
    "HR431": (
        [stops([1, 2]), stops([]), stops(["a"]), stops(2, engine=_LLAMA), stops(["a"], engine=_LLAMA)],
        [stops("a", 2, [2]), stops("a", engine=_LLAMA)],
    ),
    "HR432": (
        [s({"generation": {"generateKwargs": {name: "a"}}}) for name in ("model", "messages", "prompt", "stream")],
        [s({"generation": {"generateKwargs": {"temperature": 0}}})],
    ),
    "HR433": (
        [s({**_LLAMA, "tokenizerPath": "/t"}), s({**_LLAMA, "unstable": {"skipCheckpointLoad": True}})],
        [s(_LLAMA), s({"tokenizerPath": "/t", "unstable": {"skipCheckpointLoad": True}})],
    ),
    "HR434": (
        [s({"runtimeEnv": {"envVars": {"A=B": "1"}}}), s({"runtimeEnv": {"envVars": {"": "1"}}})],
        [s({"runtimeEnv": {"envVars": {"A": "=", "B": ""}}})],
    ),
    "HR440": ([adapters("a", "b", "a")], [adapters("a", "b")]),
    "HR441": (
        [adapters("a", source="relative"), adapters("a", source="http://x/y"), adapters("a", source="s3://")],
        [adapters("a", source=one) for one in ("/p", "s3://b/f", "gs://b", "org/name", "org/name@main")],
    ),
    "HR442": ([adapters("a", engine=_TRT), adapters("a", engine=_EMBEDDING)], [adapters("a")]),
    "HR443": ([adapters("a", engine=_LLAMA), adapters("a", engine=_LUMINOUS)], [adapters("a"), s(_LLAMA)]),
    "HR501": ([s()], [s({"engineKwargs": {"quantization": "awq"}})]),
    "HR502": ([s()], [s({"engineKwargs": {"max_num_seqs": 2}})]),
    "HR601": (
        [s(monitoring={"metricsPort": 4001, "tcpProbes": [4000, 4001]}), s(monitoring={"tcpProbes": [4000]})],
        [s(monitoring={"tcpProbes": [4001]})],
    ),
    "HR602": ([s(monitoring={"tcpProbes": [1, 2, 1]})], [s(monitoring={"tcpProbes": [1, 2]})]),
    "HR603": (
        [s(queue={"url": "http://localhost:8080"}), s(queue={"url": "ws://[::1]/nexus"})],
        [s(), s(queue={"url": "http://queue:8080"})],
    ),
    "HR604": (
        [s(queue={"url": "http://:80"}), s(queue={"url": "http://a:99999"}), s(queue={"url": "http://[a"})],
        [s(queue={"url": "http://a:80"})],
    ),
    "HR605": (
        [s(queue={"url": "https://queue.example.com"})],
        [s(), s(queue={"url": "https://queue.example.com", "tokenSecretRef": {"name": "a"}})],
    ),
    "HR701": (
        [
            s(rollout={"maintenanceWindows": [{"start": "01:00", "durationMinutes": 1, "timeZone": zone}]})
            for zone in ("CEST", "../UTC", "")
        ],
        [s(rollout={"maintenanceWindows": [{"start": "01:00", "durationMinutes": 1, "timeZone": "Europe/Berlin"}]})],
    ),
    "HR906": (
        [s({"runtimeEnv": {"conda": "a"}}), s({"runtimeEnv": {"pip": {"packages": "a"}}})],
        [s({"runtimeEnv": {"envVars": {"A": "1"}, "pip": ["a"]}})],
    ),
    "HR907": ([s({"modelType": "embedding"})], [s({"modelType": "text-generation"}), s()]),
    "HR908": ([s({"weightSetDirectories": ["/a", "/b"]})], [s({"weightSetDirectories": ["/a"]})]),
    "HR909": (
        [s(ray={"modelSource": {"bucket_uri": "abfss://a/b"}})],
        [s(), s({"hfModelId": "/models/a"}, ray={"modelSource": {"bucket_uri": "abfss://a/b"}})],
    ),
    "HR910": ([s(ray={"loraConfig": {"max_num_adapters_per_replica": 4}})], [s(ray={"loraConfig": {}}), s()]),
    "HR911": ([wanting(special_node=1)], [s(), wanting(accelerator_type_a10=0.01), wanting(**{"rdma/hca": 1})]),
    "HR913": ([s(ray={"envVarsToPropagate": ["A"]})], [s(ray={"envVarsToPropagate": []}), s()]),
    "HR914": ([s(ray={"multiplexConfig": {"max_num_models_per_replica": 4}})], [s(ray={"multiplexConfig": {}}), s()]),
}
"""Code to specs with that finding and specs without it."""
