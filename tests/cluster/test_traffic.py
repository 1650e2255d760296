"""Mixed traffic while workers and queues are killed: a short run of `python -m tests.traffic`."""

import asyncio

import pytest
from tests.traffic import load, run, site
from tests.traffic.at_zero import at_zero
from tests.traffic.books import Act

pytestmark = [pytest.mark.cluster, pytest.mark.engine]

SECONDS = 30
SEED = 69
"""Its decks begin with a worker and a queue that are killed, then a model at zero and a rollout."""
AT_ONCE = 200


async def story():
    async with site.installed(load.names(), replicas=2) as found:
        woken = await at_zero(found, AT_ONCE)
        return woken, await run.traffic(found, SECONDS, SEED, lambda _: None, woken.book)


def test_every_request_is_in_the_clients_and_the_ledgers_books(kubectl):  # noqa: ARG001  # the cluster
    woken, disturbed = asyncio.run(story())
    assert woken.problems == []
    assert {one.end for one in woken.book} == {"complete"}
    assert disturbed.problems == [], "\n".join(disturbed.lines())
    assert {Act.WORKER_KILLED, Act.QUEUE_KILLED} <= {one.act for one in disturbed.acts}
