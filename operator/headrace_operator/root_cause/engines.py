"""What engines and workers write before they end, in the order in which one cause hides another.

Read from: real runs of llama.cpp (xllamacpp 2026.10) and vLLM 0.32 on CPU with broken configurations; the sources of
vLLM 0.32 (config/model.py, v1/core/kv_cache_utils.py, v1/worker/utils.py, config/parallel.py), of huggingface_hub
(utils/_http.py, file_download.py) and of transformers (utils/hub.py). What needs a GPU is from public issues: vLLM 783,
2248 and 188 and kvcached 110 (memory), pytorch 4546 (driver), llama.cpp 20431 (cudaMalloc), TensorRT-LLM 3031 (plans).
"""

import re
from functools import partial

from headrace_operator.root_cause.evidence import Evidence
from headrace_operator.root_cause.rule import Lasting, Rule, line_of, shorten


def _says(pattern: re.Pattern[str], evidence: Evidence) -> str | None:
    ended = evidence.ended
    line = line_of(pattern, ended.errors) if ended else None
    return f"worker {evidence.worker} {ended.how}: {line}" if ended and line else None


def _rule(reason: str, pattern: str, meaning: str, hint: str, lasting: Lasting = "stays") -> Rule:
    return Rule(reason, "the engine", meaning, hint, partial(_says, re.compile(pattern)), lasting)


def _out_of_memory(evidence: Evidence) -> str | None:
    if evidence.ended is None:
        return None
    if evidence.ended.reason == "OOMKilled":
        return f"worker {evidence.worker} was killed: it took more memory than its container's limit or its node has"
    return _says(_HOST_MEMORY, evidence)


def _packages(evidence: Evidence) -> str | None:
    """What was tried, and of pip's own words the errors: its warnings of each attempt come before them."""
    ended = evidence.ended
    line = line_of(_NO_PACKAGES, ended.text) if ended else None
    if ended is None or line is None:
        return None
    errors = [one for one in ended.text.splitlines() if one.startswith("ERROR: ")]
    return f"worker {evidence.worker} {ended.how}: {shorten(' '.join([line, *errors]))}"


def _killed(evidence: Evidence) -> str | None:
    """A container that ended as asked, in a pod that stays: nobody but the kubelet asks that."""
    ended = evidence.ended
    if ended is None or ended.reason == "OOMKilled":
        return None
    if line := line_of(re.compile("the worker was told to stop while serving"), ended.text):
        return f"worker {evidence.worker} did not answer its liveness probe and was restarted: {line}"
    if ended.exit_code == _SIGKILL and not ended.text:
        return (
            f"worker {evidence.worker} was killed (SIGKILL) without a word: its liveness probe failed, or its node did"
        )
    return None


def _start_timeout(evidence: Evidence) -> str | None:
    ended = evidence.ended
    if ended is None or ended.exit_code:
        return None
    line = line_of(
        re.compile("the worker was told to stop before its engine (?:was started|answered|had given a token).*"),
        ended.text,
    )
    if ended.text and not line:
        return None
    said = line or "it had not even begun"
    return f"worker {evidence.worker} was restarted because its engine did not start in time: {said}"


def _crashed(evidence: Evidence) -> str | None:
    ended = evidence.ended
    if ended is None or ended.exit_code == 0:
        return None
    said = shorten(ended.errors or ended.reason) or "nothing"
    return f"worker {evidence.worker} {ended.how}; it said: {said}"


_SIGKILL = 137
_NO_PACKAGES = re.compile(r"(?<!generator\.)runtime_env\.pip: ")
_HOST_MEMORY = re.compile(
    r"the engine was killed by SIGKILL|insufficient memory \(attempted to allocate|can't allocate memory: you tried"
    r"|Cannot allocate memory|std::bad_alloc|\bMemoryError\b|on kv cache allocation is less than requested memory"
)

RULES = (
    _rule(
        "CudaOutOfMemory",
        r"CUDA out of memory|CUDA error: out of memory|cudaMalloc failed: out of memory|CUDA_ERROR_OUT_OF_MEMORY"
        r"|unable to allocate CUDA\d* ?buffer|Free memory on device .* is less than desired"
        r"|No available memory for the cache blocks",
        "The weights, or what the engine needs beside them, do not fit into the GPUs' memory.",
        "use more or larger GPUs (spec.scaling), a quantised model, or a smaller gpu_memory_utilization or context "
        "(spec.engine.maxTotalTokens) where other processes share the GPU",
        "comes again",
    ),
    _rule(
        "KvCacheTooSmall",
        r"larger than the available KV cache|larger than the maximum number of tokens that can be stored in KV cache",
        "The weights fit, but a request of the full context does not fit beside them.",
        "lower spec.engine.maxTotalTokens to what fits by the message, raise gpu_memory_utilization, or use more GPUs",
    ),
    _rule(
        "ModelDoesNotFit",
        r"the model does not fit the memory: it needs",
        "By the worker's sum, weights, buffers and KV cache need more memory than there is: no engine was started.",
        "do what the message says helps, or give the worker more memory: larger GPUs (spec.scaling), or raise the "
        "memory limit in spec.template",
    ),
    Rule(
        "OutOfMemory",
        "the engine",
        "The node's main memory, or the container's limit, did not suffice.",
        "raise the memory limit in spec.template, lower spec.engine.maxTotalTokens, or use a larger node",
        _out_of_memory,
        "comes again",
    ),
    _rule(
        "SharedMemoryTooSmall",
        r"Insufficient space in /dev/shm|[Bb]us error|unable to write to file </torch",
        "The engine's processes share memory through /dev/shm, which is too small.",
        "give the pod more memory, or a larger volume at /dev/shm, in spec.template",
    ),
    _rule(
        "DiskFull",
        r"No space left on device|[Nn]ot enough free disk space|Disk quota exceeded",
        "The weights do not fit where they are stored.",
        "give the model a larger cache volume (spec.template, or the node's disk)",
    ),
    Rule(
        "PackagesNotInstalled",
        "the engine",
        "The packages of spec.engine.runtimeEnv could not be installed for the engine.",
        "correct spec.engine.runtimeEnv.pip; without the internet name an index (PIP_INDEX_URL in its envVars), or "
        "mount wheels and set pip_install_options: [--no-index, --find-links, FOLDER]",
        _packages,
        "comes again",
    ),
    _rule(
        "CacheUnusable",
        r"the model cache cannot be (?:used|written)|extra_files cannot be used",
        "The worker cannot write the folder that models are fetched to: it is another user's, or mounted read-only.",
        "let the worker's user write there (fsGroup in spec.template, the volume's access mode), or fill it beforehand",
    ),
    _rule(
        "ContextTooLong",
        r"User-specified max_model_len \(\d+\) is greater than|value too large to convert to int32_t",
        "spec.engine.maxTotalTokens is more than the model was made for.",
        "lower spec.engine.maxTotalTokens to the model's own maximum, which the message names",
    ),
    _rule(
        "UnknownArgument",
        r"engine_kwargs\.\S+: unknown to|error: unrecognized arguments",
        "spec.engine.engineKwargs has an argument that this version of the engine does not know.",
        "correct the argument's name in spec.engine.engineKwargs, or take it out",
    ),
    _rule(
        "TensorParallelMismatch",
        r"must be divisible by (?:the )?tensor parallel(?:ism)? size|is not divisible by tp_size",
        "The model's attention heads cannot be shared out evenly among so many GPUs.",
        "choose spec.scaling.numWorkers so that it divides the number of heads that the message names",
    ),
    _rule(
        "UnsupportedArchitecture",
        r"Model architectures .* are not supported|Transformers does not recognize this architecture"
        r"|unknown model architecture",
        "The engine's version does not know this kind of model.",
        "use another spec.engine.type, or a runtime image with a newer version of the engine",
    ),
    _rule(
        "RemoteCodeNeeded",
        r"trust_remote_code=True|contains custom code which must be executed",
        "The model comes with code of its own, which the engine runs only when told to.",
        "read that code, then set trust_remote_code: true in spec.engine.engineKwargs",
    ),
    _rule(
        "UnsupportedQuantization",
        r"Unknown quantization method|[Qq]uantization (?:method|scheme) .*(?:not supported|does not match)"
        r"|Cannot find the config file for \w+",
        "The engine, the GPU or the checkpoint does not go with the quantisation that was asked for.",
        "leave quantization out of spec.engine.engineKwargs, or use one that both the checkpoint and the GPU have",
    ),
    _rule(
        "UnsupportedDtype",
        r"Bfloat16 is only supported on GPUs|Unknown dtype|is not supported for quantization method"
        r"|engine_kwargs\.dtype: .* is not accepted",
        "The engine or the GPU cannot compute in this number format.",
        "set dtype: float16 (or auto) in spec.engine.engineKwargs",
    ),
    _rule(
        "CudaDriverTooOld",
        r"NVIDIA driver on your system is too old|CUDA driver version is insufficient|cudaErrorInsufficientDriver"
        r"|PTX was compiled with an unsupported toolchain",
        "The node's NVIDIA driver is older than what the engine's CUDA needs.",
        "update the driver on the node, or use a runtime image for an older CUDA",
    ),
    _rule(
        "GpuNotSupported",
        r"no kernel image is available for execution on the device|CUDA capability .* is not compatible",
        "The engine was not built for this generation of GPUs.",
        "choose another GPU (spec.scaling.resourcesPerWorker), or a runtime image that was built for this one",
    ),
    _rule(
        "EngineFileMismatch",
        r"engine plan file is (?:generated on an incompatible device|not compatible with this version)",
        "The built TensorRT-LLM engine is for another GPU or another version of TensorRT.",
        "build the engine again on this GPU with this version, or choose the GPU that it was built for",
    ),
    _rule(
        "NoCudaDevice",
        r"No CUDA GPUs are available|Found no NVIDIA driver|no CUDA-capable device|Failed to infer device type"
        r"|World size \(\d+\) is larger than the number of|libcuda\.so\.1: cannot open",
        "The engine sees no GPU, or fewer than it was told to use.",
        "ask for the GPUs in spec.scaling, and check that the device plugin and the NVIDIA runtime work on the node",
    ),
    _rule(
        "GpuFailed",
        r"uncorrectable ECC error|GPU has fallen off the bus"
        r"|CUDA error: (?:an illegal memory access|device-side assert|unspecified launch failure)",
        "A GPU failed, or a kernel on it did.",
        "look at the node's kernel log for Xid errors, and drain the node if they come again",
        "comes again",
    ),
    _rule(
        "GpuCommunicationFailed",
        r"NCCL error|ncclSystemError|ncclUnhandledCudaError|ncclInternalError",
        "The GPUs of one worker cannot talk to each other.",
        "set NCCL_DEBUG=INFO in spec.engine.runtimeEnv to see why; /dev/shm and the network are the usual causes",
        "comes again",
    ),
    _rule(
        "WeightsForbidden",
        r"[Cc]annot access gated repo|trying to access a gated repo|Invalid credentials|\bAccessDenied\b"
        r"|401 Client Error(?!.*\n?.*Repository Not Found)|403 (?:Client Error|Forbidden)|InvalidAccessKeyId"
        r"|SignatureDoesNotMatch|cannot be fetched: 40[13] (?!.*Repository Not Found)"
        r"|gave no keys|the environment variable \S+ is not set",
        "The place of the weights does not let this worker have them (401 or 403).",
        "accept the model's licence there, and give the worker a token or key that may read it (HF_TOKEN, AWS_* "
        "or GOOGLE_*, from the Secret of spec.engine.credentialsSecretRef)",
    ),
    _rule(
        "FilesNotReadable",
        r"cannot be read: Permission denied|PermissionError: \[Errno 13\]",
        "The worker's user may not read a file or a folder that it was given.",
        "let user and group 10001 read it (chmod on the node, or an fsGroup that the volume honours), or name another "
        "user in spec.template",
    ),
    _rule(
        "WeightsNotFound",
        r"(?:Repository|Entry|Revision) Not Found for url|is not a valid model identifier"
        r"|is neither a file nor a folder"
        r"|does not appear to have a file named|Cannot find any model weights|must hold exactly one \.gguf"
        r"|Repo id must be in the form|Invalid repository ID or local directory|outgoing traffic has been disabled"
        r"|404 Client Error|\bNoSuchKey\b|\bNoSuchBucket\b|cannot be fetched: .*\b404 |is not a folder that can be read"
        r"|\.gguf files? (?:fit|is quantized)|there is no \.gguf file",
        "There are no weights under this name or path.",
        "correct spec.engine.modelId or hfModelId; without a token that may read it, a private model looks so, too",
    ),
    _rule(
        "WeightsSourceUnreachable",
        r"couldn't connect to 'https?://|trying to locate the file on the Hub|Could not connect to the endpoint URL"
        r"|Max retries exceeded with url|50[234] Server Error|429 Too Many Requests"
        r"|cannot be fetched: .*(?:\b5\d\d |error sending request|HTTP error|Timeout|bytes came instead of)",
        "The place of the weights does not answer.",
        "check the pod's way out (network policy, proxy, DNS), or put the weights on a volume",
        "passes",
    ),
    _rule(
        "WeightsCorrupt",
        r"Consistency check failed|[Cc]hecksum (?:mismatch|failed)|Error while deserializing header|invalid magic char"
        r"|data is not within the file bounds|PytorchStreamReader failed|hash mismatch",
        "The weights' files are incomplete or damaged.",
        "delete them from the cache or the volume and let them be fetched again",
    ),
    _rule(
        "PortTaken",
        r"cannot listen on port \d+|[Aa]ddress already in use",
        "A port that the worker serves on is used by another program in its pod, or on its node with hostNetwork.",
        "choose another spec.monitoring.metricsPort, or take hostNetwork out of spec.template",
    ),
    _rule(
        "EngineMissing",
        r"No module named '(?:vllm|tensorrt_llm|xllamacpp|sentence_transformers)'|executable file not found in \$PATH",
        "The runtime image does not hold the engine.",
        "set runtime.images in the chart's values to an image that has this engine",
    ),
    _rule(
        "ConfigRefused",
        r"generator\.(?!engine_kwargs\.\S+: unknown to|engine_kwargs\.dtype)\S+: (?:.* is )?not accepted"
        r"|: error: argument \S+: |HEADRACE_\w+: ",
        "The worker or its engine does not accept a value of the configuration.",
        "correct the field that the message names",
    ),
    _rule(
        "EngineHung",
        r"the engine has not answered its health check for|the engine has requests and has given no token for",
        "The engine's process ran but did not answer any more; the worker killed it.",
        "look at the engine's log before that (kubectl logs --previous)",
        "comes again",
    ),
    Rule(
        "EngineStartTimeout",
        "the engine",
        "The engine did not answer within two hours, and its container was restarted.",
        "look at the worker's log, or give the model a cache volume (spec.modelCache) so that it loads faster",
        _start_timeout,
        "comes again",
    ),
    Rule(
        "WorkerKilled",
        "the engine",
        "The worker was killed from outside: its liveness probe failed, or the node was short of memory.",
        "give the worker more CPU and memory (spec.scaling.numCpusPerWorker, spec.template)",
        _killed,
        "comes again",
    ),
    Rule(
        "WorkerCrashed",
        "the engine",
        "The worker ended with an error that the table does not know.",
        "read what it said; kubectl logs --previous has all of it",
        _crashed,
        "comes again",
        fallback=True,
    ),
)
