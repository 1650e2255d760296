"""Weights that vLLM streams from a bucket into the GPU's memory by itself, so that nothing is fetched. Pure.

vLLM (`load_format = "runai_streamer"`, docs/models/extensions/runai_model_streamer of its documentation) reads every
safetensors file of a folder, and configuration and tokenizer from the same, with the Run:ai Model Streamer. That reads
`AWS_ENDPOINT_URL`, wants to be told that an endpoint has no addresses by bucket, and otherwise finds keys as the
clouds' own libraries do. What it cannot be told is refused here, before it loads something else than was asked for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from headrace_api.s3_sync import SyncArguments
from headrace_api.worker_config import Generator
from headrace_worker.store import address
from headrace_worker.store.errors import StoreError
from headrace_worker.store.request import StoreRequest
from headrace_worker.store.settings import StoreSettings

_FORMAT = "runai_streamer"
_GCS_KEYS = ("GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_APPLICATION_CREDENTIALS")
_HINT = "take load_format out of engine_kwargs, then the files are fetched before vLLM starts"


@dataclass(frozen=True)
class Streamed:
    """Where vLLM reads from."""

    place: str
    environment: Mapping[str, str]
    """Variables that it needs for that."""


def streamed(generator: Generator, model: StoreRequest, settings: StoreSettings) -> Streamed | None:
    """What vLLM streams by itself; None where there is nothing to stream, or it is streamed from a folder.

    Args:
        generator: the section.
        model: what would be fetched otherwise.
        settings: the environment's.

    Raises:
        StoreError: it is asked for something that the streamer cannot do.
    """
    kwargs = {name.replace("-", "_"): value for name, value in generator.engine_kwargs.items()}
    if generator.type != "VLLMEngine" or not str(kwargs.get("load_format")).startswith(_FORMAT):
        return None
    if model.source.kind != "bucket":
        return None
    where = address.address(model.source.place)
    for what in _refused(where, model, settings):
        given = f"generator.engine_kwargs.load_format: {kwargs['load_format']!r}"
        raise StoreError(f"{given} is not accepted {what}; {_HINT}")
    return Streamed(str(where).rstrip("/"), _environment(where, model.sync, settings))


def _refused(where: address.Address, model: StoreRequest, settings: StoreSettings) -> Iterator[str]:
    if model.gguf:
        yield f"with a quantisation ({model.source.quant}), because only safetensors are streamed"
    if model.sync.filters:
        yield "with --include or --exclude, because every safetensors file of the folder is streamed"
    if model.credentials:
        yield "with s3_aws_credentials, because vLLM gets its keys from environment variables only"
    if where.anonymous or model.sync.anonymous or model.sync.requester_pays:
        yield "for a bucket that is read without keys, or whose requester pays"
    key, file = (bool(settings.environment.get(name)) for name in _GCS_KEYS)
    if where.scheme == "gs" and key and not file:
        yield f"with {_GCS_KEYS[0]}, because vLLM takes keys of Google Cloud Storage from a file ({_GCS_KEYS[1]})"


def _environment(where: address.Address, sync: SyncArguments, settings: StoreSettings) -> dict[str, str]:
    if where.scheme != "s3":
        return {}
    chosen = {"AWS_REGION": sync.region, "AWS_DEFAULT_REGION": sync.region}
    endpoint = sync.endpoint_url or settings.s3_endpoint
    if not endpoint:
        return {name: value for name, value in chosen.items() if value}
    usual = {"RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING": "0", "AWS_EC2_METADATA_DISABLED": "true"}
    usual |= {name: settings.environment[name] for name in usual if name in settings.environment}
    return usual | {name: value for name, value in {**chosen, "AWS_ENDPOINT_URL": endpoint}.items() if value}
