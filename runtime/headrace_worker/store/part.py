"""The store as the worker's life calls it: a generator section in, the same with local paths out."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace_api.worker_config import Generator
from headrace_worker.adapters.look import AdapterError
from headrace_worker.parts import OnProgress, PreparationError
from headrace_worker.status import Progress as Told
from headrace_worker.store import request as requests
from headrace_worker.store import revisions, settings, streaming
from headrace_worker.store.errors import StoreError
from headrace_worker.store.fetch import Fetched, fetch
from headrace_worker.store.progress import Progress
from headrace_worker.store.request import StoreRequest


class ModelStore:
    """Fetches what a worker serves, and keeps it from being evicted until the worker ends."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """The worker's environment variables.

        Raises:
            SettingsError: one of them is not usable.
        """
        self._environment = environment
        self._settings = settings.read(environment)
        self._used: list[Fetched] = []
        self._generator: Generator | None = None

    async def __call__(self, generator: Generator, progress: OnProgress, /) -> Generator:
        """See `parts.Fetch`."""
        self._generator = generator
        if own := generator.runtime_env.env_vars:  # where RayLLM's files have keys
            self._settings = settings.read({**self._environment, **own})
        try:
            asked = requests.of_generator(generator)
            streamed = streaming.streamed(generator, asked.model, self._settings)
            model = streamed.place if streamed else await self._elsewhere(asked.model, progress)
            if model and asked.model.source.kind == "hub":
                revisions.refuse_code(generator.engine_kwargs, asked.model.source, _config(Path(model)))
            tokenizer = await self._elsewhere(asked.tokenizer, progress)
            for extra in asked.extra_files:
                await self._fetch(extra, progress)
        except StoreError as error:
            raise PreparationError(f"generator: {error}") from error
        return requests.with_paths(generator, model, tokenizer, streamed.environment if streamed else None)

    async def adapter(self, source: str, progress: OnProgress, /) -> Fetched:
        """An adapter on this machine, until it is closed; it may come from where `generator.hf_model_id` may.

        Buckets are asked with the endpoint and the keys of the model's mirror.

        Raises:
            AdapterError: it cannot be had.
        """
        try:
            request = requests.adapter(source, self._generator)
            return await fetch(request, self._settings, lambda now: progress(_told(now)))
        except StoreError as error:
            raise AdapterError(str(error)) from error

    async def _elsewhere(self, request: StoreRequest | None, progress: OnProgress) -> str | None:
        """The path of something that is not here yet; of what the section names by its path, the engine finds it."""
        if request is None or request.source.kind == "path":
            return None
        return str(await self._fetch(request, progress))

    async def _fetch(self, request: StoreRequest, progress: OnProgress) -> Path:
        found = await fetch(request, self._settings, lambda now: progress(_told(now)))
        self._used.append(found)
        return found.path


def _config(folder: Path) -> Any:
    try:
        return json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):  # the engine tells, if it needs one
        return None


def _told(now: Progress) -> Told:
    return Told(now.detail or now.file, now.done_bytes, now.total_bytes)
