"""The line of each request."""

import asyncio
import io
import json

from headrace_queue.logs import RequestLog, make_logger


async def test_the_lines_of_one_turn_are_written_together() -> None:
    stream = io.StringIO()
    lines = RequestLog(make_logger(stream=stream))
    lines.add({"request_id": "a", "status": 200})
    lines.add({"request_id": 'b"\n', "status": 499})
    assert not stream.getvalue()
    await asyncio.sleep(0)
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first.pop("timestamp") <= second.pop("timestamp")
    assert first == {"event": "request", "level": "info", "request_id": "a", "status": 200}
    assert second == {"event": "request", "level": "info", "request_id": 'b"\n', "status": 499}


async def test_no_line_is_written_where_the_level_is_above() -> None:
    stream = io.StringIO()
    RequestLog(make_logger("warning", stream)).add({"request_id": "a"})
    await asyncio.sleep(0)
    assert not stream.getvalue()
