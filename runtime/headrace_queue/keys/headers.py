"""The headers by which OpenAI's clients know how much of their limits is left."""

from headrace_queue.keys.meter import Gauge, Kind, Meter

_NAMES = {
    "requests": (Kind.REQUESTS_PER_MINUTE, Kind.REQUESTS_PER_DAY),
    "tokens": (Kind.TOKENS_PER_MINUTE, Kind.TOKENS_PER_DAY),
}


def rate_limit_headers(meter: Meter, now: float) -> dict[str, str]:
    """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}`: of the minute if that is limited, else of the day."""
    gauges = {gauge.kind: gauge for gauge in meter.gauges}
    headers: dict[str, str] = {}
    for name, kinds in _NAMES.items():
        gauge = next((gauges[kind] for kind in kinds if kind in gauges), None)
        if gauge is not None:
            headers |= _of(name, gauge, now)
    return headers


def _of(name: str, gauge: Gauge, now: float) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{name}": str(int(gauge.limit)),
        f"x-ratelimit-remaining-{name}": str(gauge.remaining(now)),
        f"x-ratelimit-reset-{name}": duration(gauge.seconds_until_whole(now)),
    }


def duration(seconds: float) -> str:
    """Seconds as OpenAI's headers have them: 120ms, 1.5s, 6m0s, 23h59m59s."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    if seconds < 60:
        return f"{round(seconds, 3):g}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s"
