"""The headers by which OpenAI's clients know how much of their limits is left."""

from headrace_queue.keys.meter import Gauge, Kind, Meter

_REQUESTS = (Kind.REQUESTS_PER_MINUTE, Kind.REQUESTS_PER_DAY)
_TOKENS = (Kind.TOKENS_PER_MINUTE, Kind.TOKENS_PER_DAY)


def rate_limit_fields(meter: Meter, now: float) -> bytes:
    """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}`: of the minute if that is limited, else of the day.

    As a connection writes them, each with CR LF.
    """
    fields = _fields("requests", meter.first(_REQUESTS), now) + _fields("tokens", meter.first(_TOKENS), now)
    return fields.encode()


def rate_limit_headers(meter: Meter, now: float) -> dict[str, str]:
    """The same by name."""
    lines = rate_limit_fields(meter, now).decode().splitlines()
    return {name: value for name, _, value in (line.partition(": ") for line in lines)}


def _fields(of: str, gauge: Gauge | None, now: float) -> str:
    if gauge is None:
        return ""
    left, seconds = gauge.state(now)
    return (
        f"x-ratelimit-limit-{of}: {gauge.limit}\r\n"
        f"x-ratelimit-remaining-{of}: {left}\r\n"
        f"x-ratelimit-reset-{of}: {duration(seconds)}\r\n"
    )


def duration(seconds: float) -> str:
    """Seconds as OpenAI's headers have them: 120ms, 1.5s, 6m0s, 23h59m59s."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{round(seconds, 3):g}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s"
