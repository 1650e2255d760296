"""The fake engine as an engine of the worker's, by the entry point that the benchmark installs for it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace_api.worker_config import Generator
from headrace_worker.engines.protocol import EngineApi, EngineCommand, EngineFacts, text_api

DISTRIBUTION = "headrace_bench_engine"
TYPE = "bench.Fake"
_SLOTS = 8192


class Engine:
    """See `headrace_worker.engines.protocol.Engine`."""

    def locate(self, generator: Generator) -> str:
        """There are no weights."""
        return generator.source

    def command(self, _: Generator, facts: EngineFacts) -> EngineCommand:
        """The server beside this file."""
        server = Path(__file__).with_name("engine.py")
        return EngineCommand([facts.programs.python, str(server), str(facts.port), facts.served_name])

    def slots(self, _: Generator) -> int:
        """More than any load here has."""
        return _SLOTS

    def request_defaults(self, _: Generator) -> Mapping[str, list[Any]]:
        """None."""
        return {}

    def api(self, _: Generator) -> EngineApi:
        """Chat and completions."""
        return text_api()


def install(site: Path) -> None:
    """Put what an installer leaves into a folder for PYTHONPATH: the module and its entry point."""
    info = site / f"{DISTRIBUTION}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {DISTRIBUTION}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[headrace.engines]\n{TYPE} = {DISTRIBUTION}.engine_type:Engine\n")
    (site / DISTRIBUTION).symlink_to(Path(__file__).parent)
