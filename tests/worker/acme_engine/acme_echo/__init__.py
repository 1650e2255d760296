"""What Headrace's worker asks of an engine, for one that says what it was told: all of it is decided here, as data."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from headrace_api.worker_config import Generator
from headrace_worker.engines.protocol import EngineApi, EngineCommand, EngineConfigError, EngineFacts, text_api

_ARGUMENTS = {"lanes": int, "say_first": str}


class Engine:
    """`acme.Echo`."""

    def locate(self, generator: Generator) -> str:
        """The source as it is: there are no weights."""
        return generator.source

    def command(self, generator: Generator, facts: EngineFacts) -> EngineCommand:
        """The server beside this file, run by the worker's own interpreter."""
        argv = [facts.programs.python, str(Path(__file__).with_name("server.py")), str(facts.port), facts.served_name]
        _refuse_unknown(generator.engine_kwargs)
        argv += [f"--say-first={text}"] if (text := generator.engine_kwargs.get("say_first")) else []
        argv += [f"--max-words={most}"] if (most := generator.max_total_tokens) else []
        return EngineCommand(argv, dict(generator.runtime_env.env_vars))

    def slots(self, generator: Generator) -> int:
        """`engine_kwargs.lanes`, or 4."""
        return int(generator.engine_kwargs.get("lanes", 4))

    def request_defaults(self, generator: Generator) -> Mapping[str, list[Any]]:
        """Texts become `stop`."""
        stops = generator.generation.stopping_sequences
        for stop in stops:
            if not isinstance(stop, str):
                raise EngineConfigError(
                    f"generator.generation.stopping_sequences: {stop!r} is not accepted; accepted: text"
                )
        return {"stop": list(stops)} if stops else {}

    def api(self, generator: Generator) -> EngineApi:
        """Chat and completions; its metrics' names begin with `echo_`."""
        del generator
        return replace(text_api(), metrics_path="/metrics", metrics_prefix="echo_")


def _refuse_unknown(arguments: Mapping[str, Any]) -> None:
    for name, value in arguments.items():
        kind = _ARGUMENTS.get(name)
        if kind is None:
            accepted = ", ".join(_ARGUMENTS)
            raise EngineConfigError(f"generator.engine_kwargs.{name}: unknown to acme.Echo; accepted: {accepted}")
        if not isinstance(value, kind):
            raise EngineConfigError(
                f"generator.engine_kwargs.{name}: {value!r} is not accepted; accepted: {kind.__name__}"
            )
