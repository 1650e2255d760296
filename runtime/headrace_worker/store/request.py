"""What is asked of the store, and what of a generator section that is. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from headrace_api import s3_sync
from headrace_api.s3_sync import SyncArguments
from headrace_api.worker_config import ExtraFiles, GcsMirror, Generator, S3AwsCredentials, S3Mirror
from headrace_worker.engines.gguf import split_name
from headrace_worker.store import revisions, source
from headrace_worker.store.errors import StoreError
from headrace_worker.store.source import Source


@dataclass(frozen=True)
class StoreRequest:
    """One thing to fetch: a model, a tokenizer, an adapter or further files."""

    source: Source
    name: str = ""
    """What a bucket's folder is called in the cache (`organisation/model`); the bucket's address when empty."""
    sync: SyncArguments = field(default_factory=SyncArguments)
    credentials: S3AwsCredentials | None = None
    gguf: bool = False
    """Whether a GGUF file is wanted: then what comes back is a file."""
    onnx: bool = False
    weights: bool = True
    """False: configuration and tokenizer only."""
    destination: Path | None = None
    """A folder outside the cache that the files go to."""


@dataclass(frozen=True)
class Requests:
    """Everything that a generator section asks for."""

    model: StoreRequest
    tokenizer: StoreRequest | None
    extra_files: tuple[StoreRequest, ...]


def adapter(text: str, generator: Generator | None, exists: Callable[[str], bool] = source.exists) -> StoreRequest:
    """The request for an adapter; its bucket is asked as the model's is.

    Raises:
        StoreError: the text names no source.
    """
    return _beside(source.understand(text, exists), _mirror(generator) if generator else None)


def of_generator(generator: Generator, exists: Callable[[str], bool] = source.exists) -> Requests:
    """What a generator section asks for.

    Raises:
        StoreError: a source, a revision, or an argument of `s3_sync_args`, is not accepted.
    """
    mirror = _mirror(generator)
    model = _model(generator, mirror, exists)
    model = replace(model, source=revisions.of_model(generator.engine_kwargs, model.source))
    tokenizer = Source("path", generator.tokenizer_path) if generator.tokenizer_path else None
    if generator.tokenizer_id:
        tokenizer = source.understand(generator.tokenizer_id, exists)
    tokenizer = revisions.of_tokenizer(generator.engine_kwargs, tokenizer, model.source)
    return Requests(
        model=model,
        tokenizer=replace(_beside(tokenizer, mirror), weights=False) if tokenizer else None,
        extra_files=tuple(_extra(mirror, one) for one in (mirror.extra_files if mirror else ())),
    )


def with_paths(
    generator: Generator, model: str | None, tokenizer: str | None, environment: Mapping[str, str] | None = None
) -> Generator:
    """The section as the engine shall read it: where things are here, and nothing left to fetch.

    Args:
        generator: the section as it was written.
        model: where the weights are now; None where they are where the section says.
        tokenizer: where the tokenizer is now, likewise.
        environment: variables that the engine needs to read it; those of the section win.
    """
    changed: dict[str, object] = {"s3_mirror_config": None, "gcs_mirror_config": None}
    changed["engine_kwargs"] = revisions.without(generator.engine_kwargs)  # which mean nothing in a folder
    if model:
        changed["weight_set_directories"] = [model, *generator.weight_set_directories[1:]]
    if tokenizer:
        changed["tokenizer_id"] = tokenizer
    if environment:
        variables = {**environment, **generator.runtime_env.env_vars}
        changed["runtime_env"] = generator.runtime_env.model_copy(update={"env_vars": variables})
    return generator.model_copy(update=changed)


def check(generator: Generator) -> None:
    """Refuse what can be seen to be wrong before anything is fetched.

    Raises:
        StoreError: an argument of `s3_sync_args` is not accepted.
    """
    if generator.s3_mirror_config:
        _sync(generator.s3_mirror_config)


def mirrored_name(generator: Generator) -> str:
    """What a mirror's folder in the cache is called: the id on the hub, else the model's id; not a path."""
    candidates = (generator.hf_model_id, generator.model_id)
    return next((name for name in candidates if name and not name.startswith(("/", "."))), "")


def _model(generator: Generator, mirror: S3Mirror | GcsMirror | None, exists: Callable[[str], bool]) -> StoreRequest:
    wants_gguf = generator.type == "LlamaCppEngine"
    weights = not generator.unstable.skip_checkpoint_load
    onnx = generator.optimize == "onnx"
    if generator.weight_set_directories or mirror is None or mirror.bucket_uri is None:
        found = source.understand(generator.source, exists)
        request = _beside(found, mirror)
        return replace(request, gguf=wants_gguf or found.quant is not None, onnx=onnx, weights=weights)
    name, quant = split_name(mirrored_name(generator))
    return StoreRequest(
        Source("bucket", mirror.bucket_uri, quant),
        name,
        sync=_sync(mirror),
        credentials=_credentials(mirror),
        gguf=wants_gguf or quant is not None,
        weights=weights,
    )


def _beside(found: Source, mirror: S3Mirror | GcsMirror | None) -> StoreRequest:
    """The request for something else than the mirror's model: of a bucket, at the same endpoint with the same keys."""
    if found.kind != "bucket":
        return StoreRequest(found)
    sync = replace(_sync(mirror), filters=())  # those are about the model's files
    return StoreRequest(found, sync=sync, credentials=_credentials(mirror))


def _extra(mirror: S3Mirror | GcsMirror | None, files: ExtraFiles) -> StoreRequest:
    return replace(_beside(Source("bucket", files.bucket_uri), mirror), destination=Path(files.destination_path))


def _mirror(generator: Generator) -> S3Mirror | GcsMirror | None:
    return generator.s3_mirror_config or generator.gcs_mirror_config


def _sync(mirror: S3Mirror | GcsMirror | None) -> SyncArguments:
    arguments = mirror.s3_sync_args if isinstance(mirror, S3Mirror) else None
    try:
        return s3_sync.parse(arguments or [])
    except ValueError as error:
        raise StoreError(f"generator.s3_mirror_config.s3_sync_args: {error}") from error


def _credentials(mirror: S3Mirror | GcsMirror | None) -> S3AwsCredentials | None:
    return mirror.s3_aws_credentials if isinstance(mirror, S3Mirror) else None
