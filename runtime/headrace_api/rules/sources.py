"""Rules about the model: its name, where it comes from, and which engine has which field."""

import re
from collections.abc import Iterator
from typing import Literal

from headrace_api import s3_sync
from headrace_api.inference_model import InferenceModelSpec
from headrace_api.rules.finding import Facts, Finding, Rule, at

_ENGINE = ("spec", "engine")
_FIELDS_OF = {
    "TRTLLMEngine": (
        "modelLocalPath",
        "schedulerPolicy",
        "loggerLevel",
        "maxNumSequences",
        "maxTokensInPagedKvCache",
        "kvCacheFreeGpuMemFraction",
        "enableTrtOverlap",
    ),
    "EmbeddingEngine": ("maxBatchSize", "batchWaitTimeoutSeconds", "optimize"),
}
"""Fields that only one engine has, as the model registry has them."""


def _has_a_name(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    if not spec.model_name:
        hint = "set it to the name by which clients ask for the model, or set queue.checkpointName"
        yield Finding("HR401", "error", at("engine.modelId"), "the model has no name", hint)


def _one_mirror(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    if spec.engine.s3_mirror and spec.engine.gcs_mirror:
        message = "there are both s3Mirror and gcsMirror"
        yield Finding("HR402", "error", at("engine.gcsMirror"), message, "keep the one that has the weights")


def _addresses(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    mirrors = ("s3Mirror", "s3", spec.engine.s3_mirror), ("gcsMirror", "gs", spec.engine.gcs_mirror)
    for name, scheme, mirror in mirrors:
        if mirror is None:
            continue
        places: list[tuple[tuple[str | int, ...], str | None]] = [((), mirror.bucket_uri)]
        places += [(("extraFiles", index), extra.bucket_uri) for index, extra in enumerate(mirror.extra_files)]
        for where, uri in places:
            if uri is not None and not re.fullmatch(
                rf"{scheme}://(anonymous@)?[a-z0-9][-._a-z0-9]*(/.*)?", uri, re.DOTALL
            ):
                path = at("engine", name, *where, "bucketUri")
                hint = f"write {scheme}://BUCKET/FOLDER/"
                yield Finding("HR403", "error", path, f"{uri!r:.80} is no folder in a {scheme} bucket", hint)


def _sync_arguments(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    arguments = spec.engine.s3_mirror.s3_sync_args if spec.engine.s3_mirror else None
    for index, argument in enumerate(arguments or []):
        path = at("engine.s3Mirror.s3SyncArgs", index)
        if argument.startswith("-") and re.search(r"\s", argument):
            message = f"{argument!r:.80} is more than one argument"
            yield Finding("HR404", "error", path, message, "make it two items: the option and its value")
            return
        elif not argument or (index == 0 and not argument.startswith("--")):
            message = f"{argument!r:.80} is no option of `aws s3 sync`"
            yield Finding("HR404", "error", path, message, "write for example --no-sign-request")
            return
    try:
        s3_sync.parse(arguments or [])
    except ValueError as error:
        what, hint = str(error).split(": ", 1)
        yield Finding("HR404", "error", at("engine.s3Mirror.s3SyncArgs"), what, hint)


def _destinations(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    for name, mirror in (("s3Mirror", spec.engine.s3_mirror), ("gcsMirror", spec.engine.gcs_mirror)):
        for index, extra in enumerate(mirror.extra_files if mirror else []):
            if not extra.destination_path.startswith("/"):
                path = at("engine", name, "extraFiles", index, "destinationPath")
                yield _relative("HR405", path, extra.destination_path)


def _mirrored_name(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    if spec.ray.dialect != "registry":  # an LLMConfig's bucket_uri is the folder itself
        return
    mirrored = spec.engine.s3_mirror or spec.engine.gcs_mirror
    name = spec.engine.model_id or spec.model_name
    if mirrored and mirrored.bucket_uri and name and not re.fullmatch(r"[^/\s]+/[^/\s]+", name):
        message = f"{name!r:.80} is not of the form organisation/model, by which the mirror's folder is called"
        hint = "write for example my-organisation/my-model; queue.checkpointName may be another name"
        yield Finding("HR406", "warning", at("engine.modelId"), message, hint)


def _paths(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    for name, path in (("tokenizerPath", spec.engine.tokenizer_path), ("modelLocalPath", spec.engine.model_local_path)):
        if path is not None and not path.startswith("/"):
            yield _relative("HR407", at("engine", name), path)
    for index, path in enumerate(spec.engine.weight_set_directories):
        if not path.startswith("/"):
            yield _relative("HR407", at("engine.weightSetDirectories", index), path)


def _relative(code: str, path: tuple[str | int, ...], given: str) -> Finding:
    hint = "write the absolute path inside the worker's pod, which begins with /"
    return Finding(code, "error", path, f"{given!r:.80} is not an absolute path", hint)


def _has_a_source(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    engine = spec.engine
    named = engine.model_id or engine.hf_model_id or engine.model_local_path or engine.weight_set_directories
    if spec.model_name and not named and not engine.s3_mirror and not engine.gcs_mirror:
        message = "nothing says where the weights are"
        yield Finding("HR408", "error", at("engine.hfModelId"), message, "set hfModelId, or weightSetDirectories")


def _foreign(
    spec: InferenceModelSpec, code: str, owner: Literal["TRTLLMEngine", "EmbeddingEngine"]
) -> Iterator[Finding]:
    if spec.engine.type == owner:
        return
    given = spec.engine.model_dump(by_alias=True, include=None, exclude_none=True)
    for name in _FIELDS_OF[owner]:
        if name in given:
            message = f"belongs to {owner}, and the engine is {spec.engine.type}"
            yield Finding(code, "error", (*_ENGINE, name), message, f"leave it out, or set engine.type to {owner}")


def _only_tensorrt(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    yield from _foreign(spec, "HR409", "TRTLLMEngine")


def _only_embedding(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    yield from _foreign(spec, "HR410", "EmbeddingEngine")


def _embeddings_do_not_generate(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    given = spec.engine.generation
    if spec.engine.type == "EmbeddingEngine" and (
        given.prompt_format or given.generate_kwargs or given.stopping_sequences
    ):
        yield Finding("HR411", "error", at("engine.generation"), "EmbeddingEngine generates no text", "leave it out")


def _one_tokenizer(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    engine = spec.engine
    if engine.tokenizer_id is not None and engine.tokenizer_path is not None:
        message = f"{engine.tokenizer_id!r:.80} is given beside tokenizerPath"
        yield Finding("HR412", "error", at("engine.tokenizerId"), message, "keep one of the two")
    elif engine.tokenizer_id is not None and engine.type == "LlamaCppEngine":
        message = "LlamaCppEngine has its tokenizer in the GGUF file"
        yield Finding("HR412", "error", at("engine.tokenizerId"), message, "leave it out")


def _environment_key(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    if "env_vars" in (spec.engine.runtime_env.model_extra or {}):
        message = "unknown field; its variables would not be set"
        yield Finding("HR006", "error", at("engine.runtimeEnv", "env_vars"), message, "did you mean envVars?")


def _one_cache(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    cache = spec.model_cache
    if cache is not None and (cache.persistent_volume_claim is None) == (cache.host_path is None):
        message = "is empty" if cache.host_path is None else "has both persistentVolumeClaim and hostPath"
        hint = "set one of persistentVolumeClaim and hostPath, or leave modelCache out"
        yield Finding("HR413", "error", at("modelCache"), message, hint)


def _node_cache(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    if spec.model_cache and spec.model_cache.host_path is not None:
        message = "the Pod Security profiles restricted and baseline forbid volumes of the node: pods are refused"
        hint = "set persistentVolumeClaim, or label the namespace pod-security.kubernetes.io/enforce=privileged"
        yield Finding("HR414", "warning", at("modelCache.hostPath"), message, hint)


def _unset(owner: str) -> str:
    fields = " || ".join(f"has(self.{name})" for name in _FIELDS_OF[owner])
    return f"self.type == '{owner}' || !({fields})"


RULES = (
    Rule("HR006", "error", "runtimeEnv's own field is called envVars", _environment_key),
    Rule(
        "HR401",
        "error",
        "set engine.modelId or queue.checkpointName: the model needs a name that clients can ask for",
        _has_a_name,
        ("InferenceModelSpec", "has(self.engine.modelId) || has(self.queue.checkpointName)"),
    ),
    Rule(
        "HR402",
        "error",
        "keep one of s3Mirror and gcsMirror: a model has one source",
        _one_mirror,
        ("Engine", "!(has(self.s3Mirror) && has(self.gcsMirror))"),
    ),
    Rule("HR403", "error", "write bucketUri as s3://BUCKET/FOLDER/ or gs://BUCKET/FOLDER/", _addresses),
    Rule(
        "HR404",
        "error",
        "write s3SyncArgs as for `aws s3 sync`, one argument in each item, those that a download has",
        _sync_arguments,
    ),
    Rule("HR405", "error", "write destinationPath of extraFiles as an absolute path", _destinations),
    Rule(
        "HR406",
        "warning",
        "write engine.modelId as organisation/model where there is a mirror: its folder is called so",
        _mirrored_name,
    ),
    Rule(
        "HR407",
        "error",
        "write tokenizerPath, modelLocalPath and weightSetDirectories as absolute paths",
        _paths,
        (
            "Engine",
            (
                "(!has(self.tokenizerPath) || self.tokenizerPath.startsWith('/')) && "
                "(!has(self.modelLocalPath) || self.modelLocalPath.startsWith('/'))"
            ),
        ),
    ),
    Rule("HR408", "error", "say where the weights are: hfModelId, a mirror or weightSetDirectories", _has_a_source),
    Rule(
        "HR409",
        "error",
        f"leave out the fields of TRTLLMEngine with another engine: {', '.join(_FIELDS_OF['TRTLLMEngine'])}",
        _only_tensorrt,
        ("Engine", _unset("TRTLLMEngine")),
    ),
    Rule(
        "HR410",
        "error",
        f"leave out the fields of EmbeddingEngine with another engine: {', '.join(_FIELDS_OF['EmbeddingEngine'])}",
        _only_embedding,
        ("Engine", _unset("EmbeddingEngine")),
    ),
    Rule(
        "HR411",
        "error",
        "leave out engine.generation with EmbeddingEngine, which generates no text",
        _embeddings_do_not_generate,
        ("Engine", "self.type != 'EmbeddingEngine' || !has(self.generation.promptFormat)"),
    ),
    Rule(
        "HR412",
        "error",
        "keep one of tokenizerId and tokenizerPath, and neither id with LlamaCppEngine: a GGUF file has its own",
        _one_tokenizer,
        (
            "Engine",
            "!has(self.tokenizerId) || (!has(self.tokenizerPath) && self.type != 'LlamaCppEngine')",
        ),
    ),
    Rule(
        "HR413",
        "error",
        "set one of persistentVolumeClaim and hostPath in modelCache",
        _one_cache,
        ("ModelCache", "has(self.persistentVolumeClaim) != has(self.hostPath)"),
    ),
    Rule("HR414", "warning", "modelCache.hostPath needs a namespace that Pod Security leaves alone", _node_cache),
)
