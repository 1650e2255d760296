"""What the ledger has of requests whose workers' words do not come, come late, or are several."""

import pytest
from virtual_queue import VirtualQueue

from headrace_api.wire import Usage
from headrace_queue.exchange import End


def figures(queue: VirtualQueue) -> tuple[str, str, int, int, float]:
    row = queue.ledger.row()
    return row.outcome, row.doubt, row.prompt_tokens, row.completion_tokens, row.gpu_seconds


# ---- workers without a name


@pytest.mark.parametrize("name", ["", "w"])
def test_what_a_worker_has_not_counted_is_uncounted_whatever_it_is_called(name: str) -> None:
    queue = VirtualQueue("m", max_attempts=1)
    queue.ask()
    worker = queue.worker("m", credit=1, name=name)
    worker.finish(min(worker.jobs), End(200, {"choices": []}))
    assert queue.ledger.row().doubt == "uncounted"


@pytest.mark.parametrize("name", ["", "w"])
def test_a_lost_worker_has_not_counted_whatever_it_is_called(name: str) -> None:
    queue = VirtualQueue("m", max_attempts=1)
    queue.ask()
    queue.worker("m", credit=1, name=name).die()
    assert queue.ledger.row().doubt == "uncounted"


@pytest.mark.parametrize("name", ["", "w"])
def test_a_lie_is_corrected_whatever_its_worker_is_called(name: str) -> None:
    queue = VirtualQueue("m")
    queue.ask()
    worker = queue.worker("m", credit=1, name=name)
    worker.finish(min(worker.jobs), End(200, {}, Usage(completion_tokens=2**30)))
    assert queue.ledger.row().doubt == "corrected"


def test_what_no_worker_had_has_no_doubt() -> None:
    queue = VirtualQueue("m", hold_seconds=5)
    queue.ask()
    queue.clock.pass_(10)
    assert figures(queue) == ("unserved", "", 0, 0, 0.0)
