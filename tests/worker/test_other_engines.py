"""An engine that another distribution adds (`acme_engine`), beside a real worker and a real queue."""

import json
import os
import signal
import tomllib
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from headrace_api.worker_config import Generator
from headrace_worker import engines
from headrace_worker.engines.protocol import EngineConfigError
from tests.worker.fleet import MODEL, START_S, queue_process
from tests.worker.worker_process import all_gone, worker

SOURCE = Path(__file__).parent / "acme_engine"
PROJECT = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder as an installer leaves it: the package, and the distribution's metadata with its entry points."""
    site = tmp_path / "site"
    info = site / f"acme_echo-{PROJECT['version']}.dist-info"
    info.mkdir(parents=True)
    (site / "acme_echo").symlink_to(SOURCE / "acme_echo")
    head = f"Metadata-Version: 2.1\nName: {PROJECT['name']}\nVersion: {PROJECT['version']}\n"
    (info / "METADATA").write_text(head)
    points = PROJECT["entry-points"]["headrace.engines"]
    lines = [f"{name} = {where}\n" for name, where in points.items()]
    (info / "entry_points.txt").write_text("[headrace.engines]\n" + "".join(lines))
    return site


def path_with(site: Path) -> str:
    return os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])


async def ask(url: str, path: str, **request: Any) -> tuple[int, str]:
    async with aiohttp.ClientSession() as http, http.post(url + path, json={"model": MODEL, **request}) as response:
        return response.status, await response.text()


@pytest.mark.engine
async def test_its_answers_come_through_the_queue(tmp_path: Path, site: Path) -> None:
    generator = {
        "type": "acme.Echo",
        "model_id": "acme/echo",
        "weight_set_directories": [str(tmp_path)],
        "max_total_tokens": 8,
        "engine_kwargs": {"lanes": 2, "say_first": "You said:"},
        "generation": {"stopping_sequences": ["stop"]},
    }
    said = [{"role": "user", "content": "one two stop three"}]
    async with queue_process() as url, worker(tmp_path, url, generator, PYTHONPATH=path_with(site)) as process:
        await process.until_ready(START_S)
        status, whole = await ask(url, "/v1/chat/completions", messages=said)
        assert status == 200, whole
        answer = json.loads(whole)
        assert answer["choices"][0]["message"]["content"] == "You said: one two"
        assert answer["usage"]["completion_tokens"] == 4
        status, stream = await ask(url, "/v1/chat/completions", messages=said, stream=True)
        events = [line.removeprefix("data: ") for line in stream.splitlines() if line]
        assert events.pop() == "[DONE]"
        deltas = [json.loads(event)["choices"][0]["delta"].get("content", "") for event in events]
        assert "".join(deltas) == "You said: one two"
        status, text = await ask(url, "/v1/completions", prompt="one two", max_tokens=3)
        assert json.loads(text)["choices"][0]["text"] == "You said: one"
        status, text = await ask(url, "/v1/completions", prompt="word " * 9)
        assert (status, json.loads(text)["error"]["message"]) == (400, "9 words are more than 8")
        status, text = await ask(url, "/v1/embeddings", input="one")
        assert status == 404, text
        metrics = (await process.probe("/metrics"))[1]
        assert 'requests_total{status="200"} 3.0' in metrics
        assert "echo_requests_total" in metrics
        children = process.children()
        assert any("acme_echo" in " ".join(child.cmdline()) for child in children)
        process.process.send_signal(signal.SIGTERM)
        assert await process.exit_status() == 0
        assert await all_gone(children)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (
            {"engine_kwargs": {"lane": 2}},
            "generator.engine_kwargs.lane: unknown to acme.Echo; accepted: lanes, say_first",
        ),
        ({"type": "acme.Ecko"}, "does not serve 'acme.Ecko'; it serves: EmbeddingEngine, "),
        (
            {"scheduler_policy": "MAX_UTILIZATION"},
            "generator.scheduler_policy: 'MAX_UTILIZATION' is not accepted with acm",
        ),
        (
            {"adapters": [{"name": "a", "source": "/a"}]},
            "generator.adapters: not accepted with acme.Echo, whose engine",
        ),
    ],
)
def test_what_it_does_not_know_is_refused(
    tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any], says: str
) -> None:
    monkeypatch.syspath_prepend(str(site))
    with pytest.raises(EngineConfigError, match=says):
        engines.check(Generator.model_validate({"type": "acme.Echo", "model_id": str(tmp_path), **keys}))
