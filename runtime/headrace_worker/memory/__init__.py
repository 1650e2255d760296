"""How much memory an engine may take: from the GPUs that are there and the model's own files to settings with reasons.

`machine` and `model` read facts, `fit` decides from them, without effects. Its result is the generator section with the
chosen values in their ordinary places, so that an engine turns them into flags as if a person had written them.
"""

from collections.abc import Mapping

from headrace_api.worker_config import Generator
from headrace_worker.memory import machine, model
from headrace_worker.memory.fit import Fit, fit
from headrace_worker.memory.machine import Machine
from headrace_worker.memory.model import Model
from headrace_worker.memory.setting import arguments
from headrace_worker.memory.vllm import CPU_SPACE

__all__ = ["Fit", "Machine", "Model", "fit", "fitted"]


def fitted(
    generator: Generator, kind: str, weights: str, environment: Mapping[str, str], *, cpu_only: bool = False
) -> Fit:
    """Read what there is and decide; see `fit`.

    Args:
        generator: the section as the engine reads it.
        kind: the engine.
        weights: where they are on this machine; of anything else nothing is known.
        environment: what the engine inherits.
        cpu_only: whether the engine is known to compute on the CPU only (see `build`).

    Raises:
        EngineConfigError: the model cannot fit.
    """
    if not generator.auto_memory_config:
        return Fit(generator)
    inherited = {**environment, **generator.runtime_env.env_vars}
    if kind == "VLLMEngine" and inherited.get(CPU_SPACE):
        known = generator.runtime_env.model_copy(
            update={"env_vars": {CPU_SPACE: inherited[CPU_SPACE], **generator.runtime_env.env_vars}}
        )
        generator = generator.model_copy(update={"runtime_env": known})
    there = machine.read(inherited, cpu_only=cpu_only)
    return fit(generator, kind, model.read(weights, arguments(generator)), there)
