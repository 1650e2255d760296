"""Which way an engine is asked."""

import aiohttp
import structlog

from headrace_worker.engines.protocol import EngineApi
from headrace_worker.transports.http import Http
from headrace_worker.transports.multiplexed import Multiplexed
from headrace_worker.transports.protocol import EngineLostError, Transport

log = structlog.get_logger()


async def opened(session: aiohttp.ClientSession, base_url: str, api: EngineApi) -> Transport:
    """All requests over one WebSocket where a running engine has that; else each by HTTP."""
    if not api.multiplexed:
        return Http(base_url)
    multiplexed, usable = Multiplexed(session, base_url), False
    try:
        await multiplexed.probe()
        usable = True
    except EngineLostError as error:
        log.warning("each request goes to the engine by HTTP: they cannot share a WebSocket", reason=str(error))
    finally:
        if not usable:
            await multiplexed.close()
    return multiplexed if usable else Http(base_url)
