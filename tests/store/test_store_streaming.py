"""Weights that vLLM streams itself: what it is started with, and what is fetched all the same."""

from pathlib import Path

import pytest
from tests.store import servers
from tests.store.test_store_buckets import extra_tree, tree

from headrace_api.worker_config import Generator
from headrace_worker.engines.protocol import EngineFacts, Programs
from headrace_worker.engines.vllm import Vllm
from headrace_worker.store.part import ModelStore


@pytest.mark.slow
async def test_vllm_is_started_with_the_buckets_address_and_its_endpoint(s3: servers.S3, tmp_path: Path) -> None:
    s3.put(
        "models", {"streamed-extra/y.txt": b"y", "tokens/tokenizer.json": b"{}", "tokens/model.safetensors": b"large"}
    )
    section = {
        "type": "VLLMEngine",
        "model_id": "org/model",
        "tokenizer_id": "s3://models/tokens",
        "s3_mirror_config": {
            "bucket_uri": "s3://models/streamed/",
            "s3_sync_args": ["--region", "us-east-1"],
            "extra_files": [{"bucket_uri": "s3://models/streamed-extra", "destination_path": str(tmp_path / "to")}],
        },
        "engine_kwargs": {"load_format": "runai_streamer", "model_loader_extra_config": {"concurrency": 16}},
    }
    environment = {
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "AWS_ENDPOINT_URL_S3": s3.url,
        "AWS_ACCESS_KEY_ID": servers.KEY,
        "AWS_SECRET_ACCESS_KEY": servers.SECRET,
    }

    found = await ModelStore(environment)(Generator.model_validate(section), lambda _: None)
    command = Vllm().command(found, EngineFacts(Vllm().locate(found), "model", 8000, Programs("python", "python")))

    told = dict(zip(command.argv, command.argv[1:], strict=False))
    assert told["--model"] == "s3://models/streamed"
    assert told["--load-format"] == "runai_streamer"
    assert told["--model-loader-extra-config"] == '{"concurrency": 16}'
    assert tree(Path(told["--tokenizer"])) == {"tokenizer.json": b"{}"}
    assert extra_tree(tmp_path / "to") == {"y.txt": b"y"}
    assert command.env == {
        "AWS_ENDPOINT_URL": s3.url,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING": "0",
    }
    assert not list((tmp_path / "hub").glob("models--org--model"))
