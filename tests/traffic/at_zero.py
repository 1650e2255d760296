"""Many requests at once to a model without a worker: all are answered once it is up."""

import asyncio
import itertools
import time

from tests.traffic import wishes
from tests.traffic.books import Act, Disturbance
from tests.traffic.client import ask, session
from tests.traffic.models import SLEEPER
from tests.traffic.run import Result, result
from tests.traffic.site import Site, asleep, until


async def at_zero(site: Site, count: int) -> Result:
    """Ask; a request that is not answered is a problem, as nothing explains it."""
    await until("the model is at zero", asleep)
    began = time.time()
    keys = itertools.cycle(site.keys.items())
    async with session() as http:
        asking = (ask(http, site.url, next(keys), wishes.known(stream=bool(one % 2))) for one in range(count))
        book = list(await asyncio.gather(*asking))
    done = await result(site, book, [Disturbance(Act.SLEPT, SLEEPER, began, time.time())])
    first, last = (pick(one.ended_at for one in book) - began for pick in (min, max))
    done.notes.append(f"the first answer was there after {first:.1f} s, the last one after {last:.1f} s")
    return done
