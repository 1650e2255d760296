"""The engines that this worker can start, by their names in the configuration."""

from headrace_api.worker_config import EngineType
from headrace_worker.engines.llamacpp import LlamaCpp
from headrace_worker.engines.protocol import Engine, EngineConfigError
from headrace_worker.engines.vllm import Vllm


def engine_for(kind: EngineType) -> Engine:
    """The engine of a configuration's `generator.type`.

    Raises:
        EngineConfigError: this worker does not serve it.
    """
    engines: dict[str, Engine] = {"LlamaCppEngine": LlamaCpp(), "VLLMEngine": Vllm()}
    if kind not in engines:
        raise EngineConfigError(
            f"generator.type: this worker does not serve {kind!r}; it serves: {', '.join(sorted(engines))}"
        )
    return engines[kind]
