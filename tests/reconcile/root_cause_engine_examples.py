"""Real texts of engines and workers that ended, each with the reason that it is to be given."""

from tests.reconcile.root_cause_examples import EXITED, Example, ended, engine, log, pod, worker

_HUB = "https://huggingface.co/meta-llama/Llama-2-7b/resolve/main/config.json"
_RETRYING = (
    "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken "
    "by 'NewConnectionError('<pip._vendor.urllib3.connection.HTTPConnection object at 0x7f2c8a0c1d90>: Failed to "
    "establish a new connection: [Errno 111] Connection refused')': /simple/no-such-package-here/\n"
)
ENGINES = (
    engine(
        "CudaOutOfMemory",
        "OutOfMemoryError: CUDA out of memory. Tried to allocate 1.63 GiB. GPU 0 has a total capacity of 44.56 GiB of "
        "which 565.31 MiB is free.",
        "Tried to allocate 1.63 GiB",
        "565.31 MiB is free",
    ),
    engine(
        "CudaOutOfMemory",
        "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 144817.04 MiB on device 0: cudaMalloc failed: out of "
        "memory\nllama_model_load: error loading model: unable to allocate CUDA0 buffer",
        "allocating 144817.04 MiB on device 0",
    ),
    engine(
        "CudaOutOfMemory",
        "ValueError: Free memory on device cuda:0 (67.24/79.25 GiB) on startup is less than desired GPU "
        "memory utilization "
        "(0.9, 71.33 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.",
        "67.24/79.25 GiB",
    ),
    engine(
        "CudaOutOfMemory",
        "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when "
        "initializing the engine",
        "cache blocks",
    ),
    engine(
        "KvCacheTooSmall",
        "ValueError: To serve at least one request with the model's max seq len (131072), (16.0 GiB KV cache "
        "is needed, "
        "which is larger than the available KV cache memory (9.87 GiB). Based on the available memory, the estimated "
        "maximum model length is 80832.",
        "max seq len (131072)",
        "estimated maximum model length is 80832",
    ),
    log(
        "ModelDoesNotFit",
        "worker_config.toml, line 4: generator.max_total_tokens: the model does not fit the memory: it needs "
        "1.09 MiB for weights + 0.50 GiB for buffers + 715.26 GiB for the KV cache of 1 x 1000000000 tokens = "
        "715.76 GiB, and this machine has 20.78 GiB; lower max_total_tokens (now 1000000000), n_parallel (now 1), or "
        "take a smaller quantization; or set auto_memory_config = false to start it all the same",
        "715.26 GiB for the KV cache",
        "this machine has 20.78 GiB",
    ),
    engine(
        "OutOfMemory",
        "ValueError: Available memory on node 0 (20.83/23.54 GiB) on kv cache allocation is less than requested memory "
        "for kv (1000.0 GiB). Decrease --kv-cache-memory-bytes, VLLM_CPU_KVCACHE_SPACE, or reduce CPU memory used by "
        "other processes.",
        "20.83/23.54 GiB",
        where="run",
    ),
    engine(
        "OutOfMemory",
        "ggml_aligned_malloc: insufficient memory (attempted to allocate 292968.75 MB)",
        "292968.75 MB",
        where="run",
    ),
    Example("OutOfMemory", ended("", 137, reason="OOMKilled"), ("more memory than its container's limit",), "cluster"),
    Example("OutOfMemory", ended("the engine was killed by SIGKILL before it was ready\nlast lines:\n"), (), "run"),
    engine("SharedMemoryTooSmall", "RuntimeError: Insufficient space in /dev/shm", "/dev/shm", where="run"),
    engine("DiskFull", "OSError: [Errno 28] No space left on device", "No space left on device"),
    engine(
        "ContextTooLong",
        "ValidationError: 1 validation error for ModelConfig\nValue error, User-specified max_model_len (100000) is "
        "greater than the derived max_model_len (max_position_embeddings=1024.0 or model_max_length=None in model's "
        "config.json).",
        "max_model_len (100000)",
        "max_position_embeddings=1024.0",
        where="run",
    ),
    log(
        "PackagesNotInstalled",
        "runtime_env.pip: cannot find millrace==7: pip exited with status 1:\n"
        "ERROR: Could not find a version that satisfies the requirement millrace==7 (from versions: 1.0, 2.0)\n"
        "ERROR: No matching distribution found for millrace==7\nlast lines:\n",
        "cannot find millrace==7",
        "(from versions: 1.0, 2.0)",
        code=1,
    ),
    log(
        "PackagesNotInstalled",
        "runtime_env.pip: cannot find no-such-package-here: pip exited with status 1:\n"
        + 2 * _RETRYING
        + "ERROR: Could not find a version that satisfies the requirement no-such-package-here (from versions: none)\n"
        "ERROR: No matching distribution found for no-such-package-here\n"
        "No package index has it, or none can be reached from here: name one in PIP_INDEX_URL\nlast lines:\n",
        "(from versions: none)",
        code=1,
    ),
    engine("ContextTooLong", "OverflowError: value too large to convert to int32_t", where="run"),
    log(
        "UnknownArgument",
        "worker_config.toml, line 9: generator.engine_kwargs.n_batchh: unknown to llama.cpp xllamacpp "
        "2026.10.11549 (did "
        "you mean n_batch?); write one of llama.cpp's own arguments, or leave it out",
        "exited 2",
        "n_batchh",
        "did you mean n_batch?",
    ),
    log(
        "UnknownArgument",
        "api_server.py: error: unrecognized arguments: --block-sise 3",
        "--block-sise",
        where="source",
    ),
    engine(
        "TensorParallelMismatch",
        "ValidationError: 1 validation error for VllmConfig\nValue error, Total number of attention heads (4) must be "
        "divisible by tensor parallel size (3).",
        "heads (4)",
        "size (3)",
        where="run",
    ),
    engine(
        "UnsupportedArchitecture",
        "ValidationError: 1 validation error for ModelConfig\nValue error, Model architectures ['FooForCausalLM'] are "
        "not supported for now. Supported architectures: dict_keys(['AfmoeForCausalLM'])",
        "FooForCausalLM",
        where="run",
    ),
    engine(
        "UnsupportedArchitecture",
        "Value error, The checkpoint you are trying to load has model type `foo` but Transformers does not recognize "
        "this architecture. This could be because of an issue with the checkpoint, or because your version of "
        "Transformers is out of date.",
        "`foo`",
        where="run",
    ),
    engine(
        "UnsupportedArchitecture",
        "llama_model_load: error loading model: unknown model architecture: 'llamb'\ncmn  common_init_: failed to load "
        "model '/tmp/arch.gguf'",
        "'llamb'",
        where="run",
    ),
    engine(
        "RemoteCodeNeeded",
        "ValueError: The repository a/b contains custom code which must be executed to correctly load the "
        "model. Please "
        "pass the argument `trust_remote_code=True` to allow custom code to be run.",
        "a/b",
    ),
    engine(
        "UnsupportedQuantization",
        "Value error, Unknown quantization method: nonsense. Must be one of ['awq', 'fp8'].",
        "nonsense",
        where="run",
    ),
    engine("UnsupportedQuantization", "Value error, Cannot find the config file for awq", "awq", where="run"),
    engine(
        "UnsupportedQuantization",
        "ValueError: Quantization scheme is not supported for the current GPU. Min capability: 89. Current capability: "
        "80.",
        "Current capability: 80",
    ),
    engine(
        "UnsupportedDtype",
        "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4 GPU has "
        "compute capability 7.5. You can use float16 instead by explicitly setting the `dtype` flag in CLI, for "
        "example: --dtype=half.",
        "Tesla T4",
        "7.5",
    ),
    log(
        "UnsupportedDtype",
        "worker_config.toml, line 11: generator.engine_kwargs.dtype: 'float8' is not accepted; accepted: "
        "auto or bfloat16",
        "'float8'",
    ),
    engine(
        "CudaDriverTooOld",
        "RuntimeError: The NVIDIA driver on your system is too old (found version 11040). Please update your "
        "GPU driver",
        "11040",
    ),
    engine(
        "GpuNotSupported",
        "RuntimeError: CUDA error: no kernel image is available for execution on the device",
        "no kernel image",
    ),
    engine(
        "EngineFileMismatch",
        "The engine plan file is generated on an incompatible device, expecting compute 9.0 got compute 8.9, please "
        "rebuild.",
        "expecting compute 9.0 got compute 8.9",
    ),
    engine("NoCudaDevice", "RuntimeError: No CUDA GPUs are available", "No CUDA GPUs"),
    engine(
        "NoCudaDevice",
        "ValueError: World size (4) is larger than the number of available GPUs (2) in this node.",
        "World size (4)",
        "GPUs (2)",
    ),
    engine("GpuFailed", "RuntimeError: CUDA error: uncorrectable ECC error encountered", "ECC"),
    engine(
        "GpuCommunicationFailed",
        "DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:268, unhandled system error, NCCL version 2.21.5",
        "unhandled system error",
    ),
    engine(
        "WeightsForbidden",
        f"GatedRepoError: 401 Client Error. (Request ID: Root=1)\nCannot access gated repo for url {_HUB}.",
        "401 Client Error",
    ),
    engine(
        "WeightsForbidden",
        "ClientError: An error occurred (AccessDenied) when calling the GetObject operation: Access Denied",
        "AccessDenied",
    ),
    log(
        "WeightsForbidden",
        "generator: s3://models/private: cannot be fetched: 403 AccessDenied: Access Denied.",
        "s3://models/private",
        where="run",
    ),
    log(
        "WeightsForbidden",
        "generator: generator.s3_mirror_config.s3_aws_credentials.auth_token_env_variable: the environment variable "
        "MY_TOKEN is not set; it holds the token for http://localhost:9",
        "MY_TOKEN",
        where="run",
    ),
    log(
        "FilesNotReadable",
        "generator: '/srv/models/private' cannot be read: Permission denied; the worker's user has to have the right "
        "to read it, and to pass through the folders above it",
        "/srv/models/private",
        code=1,
    ),
    engine(
        "FilesNotReadable",
        "PermissionError: [Errno 13] Permission denied: '/models/config.json'",
        "/models/config.json",
        where="run",
    ),
    log(
        "WeightsNotFound",
        "generator: s3://nobucket/x: cannot be fetched: 404 NoSuchBucket: The specified bucket does not exist.",
        "s3://nobucket/x",
        where="run",
    ),
    log(
        "WeightsNotFound",
        "generator: https://huggingface.co/nobody/nothing: cannot be fetched: 401 Client Error. Repository Not Found "
        "for url: https://huggingface.co/api/models/nobody/nothing?blobs=true.",
        "nobody/nothing",
        where="run",
    ),
    log(
        "WeightsSourceUnreachable",
        "generator: s3://models/x: cannot be fetched: GET http://127.0.0.1:9/models?list-type=2&prefix=x%2F in 155µs"
        " - HTTP error: error sending request",
        "s3://models/x",
        where="run",
    ),
    log(
        "WeightsCorrupt",
        "generator: s3://models/corrupt/a: checksum mismatch: its ETag is 0cc175b9c0f1b6a831c399e269772661, its "
        "content 92eb5ffee6ae2fec3ad71c777531578f, after 3 downloads; upload the file again",
        "s3://models/corrupt/a",
        where="run",
    ),
    log(
        "DiskFull",
        "generator: not enough free disk space in /var/lib/headrace/huggingface/hub: 130.0 GiB needed, 80.5 GiB free",
        "130.0 GiB needed",
        where="run",
    ),
    log(
        "DiskFull",
        "generator: /data/hub: the model cache cannot be used: [Errno 28] No space left on device: '/data/hub/x'",
        "/data/hub",
    ),
    log(
        "CacheUnusable",
        "generator: /data/hub: the model cache cannot be used: [Errno 13] Permission denied: "
        "'/data/hub/models--org--model/snapshots'",
        "/data/hub",
    ),
    log(
        "CacheUnusable",
        "generator: /data/hub: the model cache cannot be written, and does not have all of org/model; let this user "
        "write there, fill it beforehand, or name another folder in HF_HUB_CACHE",
        "/data/hub",
        where="run",
    ),
    engine(
        "WeightsNotFound",
        "RepositoryNotFoundError: 401 Client Error. (Request ID: Root=1)\nRepository Not Found for url: "
        "https://huggingface.co/api/models/nobody/nothing.",
        "nobody/nothing",
    ),
    engine(
        "WeightsNotFound",
        "OSError: nobody/nothing is not a local folder and is not a valid model identifier listed on "
        "'https://huggingface.co/models'",
        "nobody/nothing",
    ),
    engine(
        "WeightsNotFound",
        "HFValidationError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '/nowhere/model'. Use "
        "`repo_type` argument if needed.",
        "/nowhere/model",
        where="run",
    ),
    engine(
        "WeightsNotFound",
        "LocalEntryNotFoundError: Cannot find an appropriate cached snapshot folder for the specified revision on the "
        "local disk and outgoing traffic has been disabled.",
        where="run",
    ),
    log(
        "WeightsNotFound",
        "worker_config.toml, line 3: generator: '/nowhere/x.gguf' is neither a file nor a folder; llama.cpp "
        "needs the path "
        "of a .gguf file",
        "/nowhere/x.gguf",
    ),
    engine(
        "WeightsSourceUnreachable",
        "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the "
        "cached files.",
        "https://huggingface.co",
        where="run",
    ),
    engine(
        "WeightsCorrupt",
        "SafetensorError: Error while deserializing header: incomplete metadata, file not fully covered",
        where="run",
    ),
    engine(
        "WeightsCorrupt",
        "gguf_init_from_reader: invalid magic characters: 'this', expected 'GGUF'\nllama_model_load: error loading "
        "model: llama_model_loader: failed to load model from /tmp/broken.gguf",
        "expected 'GGUF'",
        where="run",
    ),
    engine(
        "WeightsCorrupt",
        "llama_model_load: error loading model: tensor 'blk.1.ffn_gate.weight' data is not within the file bounds, "
        "model is corrupted or incomplete",
        "blk.1.ffn_gate.weight",
        where="run",
    ),
    log(
        "PortTaken",
        "monitoring.metrics_port: cannot listen on port 18099: [Errno 98] error while attempting to bind on address "
        "('::', 18099, 0, 0): address already in use",
        "port 18099",
        code=1,
    ),
    engine("EngineMissing", "ModuleNotFoundError: No module named 'vllm'", "'vllm'", where="cluster"),
    log(
        "ConfigRefused",
        "worker_config.toml, line 5: generator.s3_mirror_config: a table is not accepted with VLLMEngine: this version "
        "does not fetch weights from a bucket",
        "s3_mirror_config",
    ),
    log(
        "ConfigRefused",
        "worker_config.toml, line 4: generator.runtime_env.conda: not accepted: the engine runs in the interpreter "
        "that it was installed in; write the packages under pip, or put the environment into the image",
        "runtime_env.conda",
    ),
    Example(
        "EngineHung",
        ended("the engine has not answered its health check for 60 s\nlast lines:\nserving"),
        ("for 60 s",),
        "run",
    ),
    Example(
        "EngineHung",
        ended("the engine has requests and has given no token for 180 s\nlast lines:\nserving"),
        ("no token for 180 s",),
        "run",
    ),
    Example(
        "EngineStartTimeout",
        ended("the worker was told to stop before its engine was started, after 7201 s\nlast lines:\n", 0),
        ("did not start in time", "7201 s"),
        "run",
    ),
    Example(
        "EngineStartTimeout",
        ended("the worker was told to stop before its engine answered, after 3601 s\nlast lines:\n", 0),
        ("did not start in time", "3601 s"),
        "run",
    ),
    Example("EngineStartTimeout", ended("", 0, reason="Completed"), ("had not even begun",), "cluster"),
    Example(
        "WorkerKilled",
        ended("the worker was told to stop while serving\nlast lines:\n", 0),
        ("did not answer its liveness probe",),
        "run",
    ),
    Example("WorkerKilled", ended("", 137), ("SIGKILL",), "source"),
    Example(
        "WorkerCrashed",
        ended(f"{EXITED}AssertionError: 17 is not 4\nlast lines:\n"),
        ("exited 1; it said: the engine exited with status 1", "17 is not 4"),
        "run",
    ),
)

QUEUE = (
    Example(
        "QueueTokenRefused",
        ended("the queue at ws://queue:8080/worker refuses this worker's token (status 401)\nlast lines:\nserving"),
        ("ws://queue:8080/worker", "status 401"),
        "run",
    ),
    Example(
        "RegistrationRefused",
        ended(
            "the queue at ws://queue:8080/worker refuses this worker's registration (close code 4400)\nlast lines:\n"
        ),
        ("close code 4400",),
        "run",
    ),
    Example(
        "QueueUnreachable",
        pod(phase="Running", containerStatuses=[worker(state={"running": {}}, started=True)]),
        ("the engine of worker sample-1 has started", "queue at http://queue:8080"),
        "cluster",
    ),
)

EXAMPLES = (*ENGINES, *QUEUE)
