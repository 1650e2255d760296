"""The light embedding engine's process: sentence-transformers behind OpenAI's `/v1/embeddings`.

Started as `python -P embedding_server.py '{"model": …, "port": …}'`. It is one file that imports nothing of Headrace,
so that any interpreter that has sentence-transformers and aiohttp can run it. It answers `/health` once the model is
loaded, and serves until SIGTERM.

Requests that come together are worked on together: the first text waits at most `batch_wait_timeout_s` seconds until
there are `max_batch_size` texts. One thread computes; meanwhile the next batch fills up.
"""

import asyncio
import base64
import importlib.util
import json
import sys
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web

_LARGEST_REQUEST_BYTES = 64 << 20


class RequestError(ValueError):
    """The request cannot be done; the message is for the client, and names the field."""


class Model(Protocol):
    """What turns texts into tokens, and tokens into vectors."""

    limit: int
    """The longest text, in tokens with those that the tokenizer puts around it."""
    vocabulary: int
    dimensions: int
    normalizes: bool
    """Its vectors have length 1; shortened ones get it again."""

    def tokens(self, text: str) -> list[int]:
        """The text's tokens, all of them."""

    def vectors(self, batch: Sequence[Sequence[int]]) -> list[Any]:
        """One float32 array for each list of tokens."""


class SentenceTransformerModel:
    """A model of sentence-transformers, in its own arithmetic: the same modules in the same order as its `encode`."""

    def __init__(self, told: dict[str, Any]) -> None:
        if told["backend"] == "onnx" and not _has_onnx():
            raise SystemExit(
                f"ModuleNotFoundError: optimize: onnx needs optimum-onnx, which {sys.executable} has not; install "
                '"sentence-transformers[onnx]<6" beside it (optimum-onnx 0.1 knows no newer one), or leave optimize out'
            )
        import torch  # noqa: PLC0415 (takes seconds: only in the engine's process)
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415

        options = dict(told["options"])
        dtype = options.pop("dtype", None)
        model_kwargs = {} if dtype in {None, "auto"} else {"torch_dtype": getattr(torch, str(dtype))}
        self._torch = torch
        self._model = SentenceTransformer(
            told["model"], backend=told["backend"], model_kwargs=model_kwargs, **options
        ).eval()
        if told["tokenizer"]:
            from transformers import AutoTokenizer  # noqa: PLC0415

            self._model.tokenizer = AutoTokenizer.from_pretrained(told["tokenizer"])
        if told["skip_checkpoint_load"]:
            for parameter in self._model.parameters():
                torch.nn.init.normal_(parameter, std=0.02)
        self._tokenizer = self._model.tokenizer
        self._prefix = self._model.prompts.get(self._model.default_prompt_name or "", "")
        self.vocabulary = len(self._tokenizer)
        # renamed in 6.0
        dimensions = (
            getattr(self._model, "get_embedding_dimension", None) or self._model.get_sentence_embedding_dimension
        )
        self.dimensions = int(dimensions())
        self.normalizes = type(list(self._model.children())[-1]).__name__ == "Normalize"
        self.limit = _limit(told["max_total_tokens"], self._model.max_seq_length, self._positions())

    def tokens(self, text: str) -> list[int]:
        """See `Model.tokens`; a model's default prompt comes first, as in sentence-transformers."""
        return list(self._tokenizer(self._prefix + text, truncation=False, verbose=False)["input_ids"])

    def vectors(self, batch: Sequence[Sequence[int]]) -> list[Any]:
        """See `Model.vectors`."""
        features = self._tokenizer.pad({"input_ids": [list(ids) for ids in batch]}, return_tensors="pt")
        device = self._model.device
        with self._torch.inference_mode():
            made = self._model.forward({name: tensor.to(device) for name, tensor in features.items()})
        return list(made["sentence_embedding"].float().cpu().numpy())

    def _positions(self) -> int | None:
        config = getattr(getattr(self._model[0], "auto_model", None), "config", None)
        return getattr(config, "max_position_embeddings", None)


def _has_onnx() -> bool:
    try:
        return importlib.util.find_spec("optimum.onnxruntime") is not None
    except ModuleNotFoundError:  # nor is there optimum itself
        return False


def _limit(wanted: int | None, usual: int | None, positions: int | None) -> int:
    """The longest text in tokens: what is wanted, else the model's own.

    Raises:
        SystemExit: the model has not so many positions.
    """
    if wanted and positions and wanted > positions:
        raise SystemExit(f"ValueError: max_total_tokens: {wanted} is more than the model's {positions} positions")
    return wanted or usual or positions or sys.maxsize


@dataclass
class _Waiting:
    """A text in the queue, and who waits for its vector."""

    ids: list[int]
    done: asyncio.Future[Any]


class Batches:
    """Texts of many requests, put together."""

    def __init__(self, model: Model, size: int, wait_s: float) -> None:
        self._model = model
        self._size = size
        self._wait_s = wait_s
        self._waiting: deque[_Waiting] = deque()
        self._came = asyncio.Event()
        self._full = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "embeddings")
        self.counts = {"batches": 0, "texts": 0, "tokens": 0}
        """What has been worked on."""

    async def vectors(self, texts: Sequence[list[int]]) -> list[Any]:
        """The vectors, when their batches' turns have come."""
        loop = asyncio.get_running_loop()
        mine = [_Waiting(ids, loop.create_future()) for ids in texts]
        self._waiting.extend(mine)
        self._came.set()
        if len(self._waiting) >= self._size:
            self._full.set()
        return await asyncio.gather(*(one.done for one in mine))

    async def run(self) -> None:
        """Work for ever."""
        while True:
            await self._came.wait()
            if len(self._waiting) < self._size and self._wait_s:
                await self._fill_up()
            await self._work()
            if not self._waiting:
                self._came.clear()

    async def _fill_up(self) -> None:
        self._full.clear()
        try:
            async with asyncio.timeout(self._wait_s):
                await self._full.wait()
        except TimeoutError:
            return

    async def _work(self) -> None:
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < self._size:
            one = self._waiting.popleft()
            if not one.done.cancelled():  # its client has left
                batch.append(one)
        if not batch:
            return
        loop = asyncio.get_running_loop()
        try:
            made = await loop.run_in_executor(self._thread, self._model.vectors, [one.ids for one in batch])
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            made = [error] * len(batch)
        self.counts["batches"] += 1
        for one, vector in zip(batch, made, strict=True):
            self.counts["texts"] += 1
            self.counts["tokens"] += len(one.ids)
            if one.done.cancelled():
                continue
            if isinstance(vector, Exception):
                one.done.set_exception(vector)
            else:
                one.done.set_result(vector)


def texts_of(body: dict[str, Any], model: Model) -> list[list[int]]:
    """The tokens of each input: a text, texts, the tokens of one text, or those of several.

    Raises:
        RequestError: it is nothing of these, or longer than the model takes.
    """
    given = body.get("input")
    if isinstance(given, str) or (isinstance(given, list) and given and isinstance(given[0], int)):
        given = [given]
    if not isinstance(given, list) or not given:
        raise RequestError("input: missing or empty; accepted: a text, a list of texts, token ids, or lists of them")
    ids = [_ids(item, position, model) for position, item in enumerate(given)]
    for position, one in enumerate(ids):
        if len(one) > model.limit:
            raise RequestError(
                f"input[{position}]: this text has {len(one)} tokens; the model's limit is {model.limit} tokens"
            )
    return ids


def _ids(item: Any, position: int, model: Model) -> list[int]:
    if isinstance(item, str):
        return model.tokens(item)
    if isinstance(item, list) and item and all(type(token) is int for token in item):
        if all(0 <= token < model.vocabulary for token in item):
            return item
        raise RequestError(f"input[{position}]: a token id is not within the vocabulary of {model.vocabulary} tokens")
    raise RequestError(f"input[{position}]: {str(item)[:100]!r} is not accepted; accepted: a text, or token ids")


def shortened(vector: Any, dimensions: int | None, model: Model) -> Any:
    """The first `dimensions` numbers, of length 1 again where the whole has it."""
    if dimensions is None or dimensions == model.dimensions:
        return vector
    cut = vector[:dimensions]
    return cut / max(float((cut * cut).sum()) ** 0.5, 1e-12) if model.normalizes else cut


def answer(body: dict[str, Any], name: str, vectors: Sequence[Any], tokens: int) -> dict[str, Any]:
    """OpenAI's list of embeddings."""
    as_text = body.get("encoding_format") == "base64"
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(vector.astype("<f4").tobytes()).decode() if as_text else vector.tolist(),
        }
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "model": name, "data": data, "usage": usage}


def checked(body: Any, model: Model) -> dict[str, Any]:
    """The request, if its options are ones that there are.

    Raises:
        RequestError: an option is not.
    """
    if not isinstance(body, dict):
        raise RequestError("the body must be a JSON object")
    if body.get("encoding_format") not in {None, "float", "base64"}:
        raise RequestError(f"encoding_format: {body['encoding_format']!r} is not accepted; accepted: float, base64")
    dimensions = body.get("dimensions")
    if dimensions is not None and not (type(dimensions) is int and 1 <= dimensions <= model.dimensions):
        raise RequestError(f"dimensions: {dimensions!r} is not accepted; accepted: 1 to {model.dimensions}")
    return body


class Server:
    """The HTTP side."""

    def __init__(self, model: Model, name: str, batches: Batches) -> None:
        self._model = model
        self._name = name
        self._batches = batches

    def app(self) -> web.Application:
        """`/health`, `/metrics`, `/v1/embeddings` and `/tokenize`."""
        app = web.Application(client_max_size=_LARGEST_REQUEST_BYTES, middlewares=[errors])
        app.router.add_get("/health", self.health)
        app.router.add_get("/metrics", self.metrics)
        app.router.add_post("/v1/embeddings", self.embeddings)
        app.router.add_post("/tokenize", self.tokenize)
        app.cleanup_ctx.append(self._working)
        return app

    async def health(self, _: web.Request) -> web.Response:
        """There is no server before the model is there."""
        return web.Response(text="ok")

    async def metrics(self, _: web.Request) -> web.Response:
        """`GET /metrics`, for Prometheus."""
        lines = [
            f"# TYPE embeddings_{name}_total counter\nembeddings_{name}_total {count}\n"
            for name, count in self._batches.counts.items()
        ]
        return web.Response(text="".join(lines))

    async def embeddings(self, request: web.Request) -> web.Response:
        """`POST /v1/embeddings`."""
        body = checked(await request.json(), self._model)
        ids = texts_of(body, self._model)
        made = [shortened(one, body.get("dimensions"), self._model) for one in await self._batches.vectors(ids)]
        return web.json_response(answer(body, self._name, made, sum(map(len, ids))))

    async def tokenize(self, request: web.Request) -> web.Response:
        """`POST /tokenize`, in the shape of vLLM's."""
        body = checked(await request.json(), self._model)
        if not isinstance(body.get("prompt"), str):
            raise RequestError("prompt: missing, or not a text")
        ids = self._model.tokens(body["prompt"])
        return web.json_response({"count": len(ids), "max_model_len": self._model.limit, "tokens": ids})

    async def _working(self, _: web.Application) -> Any:
        task = asyncio.create_task(self._batches.run())
        yield
        task.cancel()


@web.middleware
async def errors(request: web.Request, handler: Any) -> web.StreamResponse:
    """Say what is wrong as OpenAI does."""
    try:
        response: web.StreamResponse = await handler(request)
    except (RequestError, json.JSONDecodeError) as error:
        body = {"message": str(error), "type": "invalid_request_error", "param": None, "code": 400}
        return web.json_response({"error": body}, status=400)
    return response


def main() -> None:
    """Load the model, serve until SIGTERM."""
    told = json.loads(sys.argv[1])
    model = SentenceTransformerModel(told)
    batches = Batches(model, told["max_batch_size"], told["batch_wait_timeout_s"])
    app = Server(model, told["served_name"], batches).app()
    sys.stderr.write(f"sentence-transformers serves {told['model']!r} with at most {model.limit} tokens a text\n")
    web.run_app(app, host="127.0.0.1", port=told["port"], print=None, access_log=None)


if __name__ == "__main__":
    main()
