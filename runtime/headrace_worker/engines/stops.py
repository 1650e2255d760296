"""`generation.stopping_sequences` in the requests of engines that stop at texts and at single token ids."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headrace_api.worker_config import StoppingSequence
from headrace_worker.engines.protocol import EngineConfigError


def texts_and_ids(
    sequences: Sequence[StoppingSequence], engine: str, accepted: Callable[[Any], bool]
) -> Mapping[str, list[Any]]:
    """Text becomes `stop`, token ids become `stop_token_ids`.

    Raises:
        EngineConfigError: a sequence is several token ids in a row.
    """
    texts = [item for item in sequences if isinstance(item, str)]
    ids = [_token_id(item, engine, accepted) for item in sequences if not isinstance(item, str)]
    return {key: values for key, values in (("stop", texts), ("stop_token_ids", ids)) if values}


def _token_id(sequence: StoppingSequence, engine: str, accepted: Callable[[Any], bool]) -> int:
    match sequence if accepted(sequence) else None:
        case int() as alone:
            return alone
        case [int() as single]:
            return single
        case _:
            raise EngineConfigError(
                f"generator.generation.stopping_sequences: {sequence!r} is not accepted, because {engine} stops at "
                "single token ids only; accepted: text, a token id, or a list of one token id"
            )
