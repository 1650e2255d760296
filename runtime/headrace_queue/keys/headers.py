"""The headers by which OpenAI's clients know how much of their limits is left."""

from headrace_queue.keys.meter import Kind, Meter

_REQUESTS = (Kind.REQUESTS_PER_MINUTE, Kind.REQUESTS_PER_DAY)
_TOKENS = (Kind.TOKENS_PER_MINUTE, Kind.TOKENS_PER_DAY)


def rate_limit_headers(meter: Meter, now: float) -> dict[str, str]:
    """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}`: of the minute if that is limited, else of the day."""
    headers: dict[str, str] = {}
    if gauge := meter.first(_REQUESTS):
        left, seconds = gauge.state(now)
        headers["x-ratelimit-limit-requests"] = str(gauge.limit)
        headers["x-ratelimit-remaining-requests"] = str(left)
        headers["x-ratelimit-reset-requests"] = duration(seconds)
    if gauge := meter.first(_TOKENS):
        left, seconds = gauge.state(now)
        headers["x-ratelimit-limit-tokens"] = str(gauge.limit)
        headers["x-ratelimit-remaining-tokens"] = str(left)
        headers["x-ratelimit-reset-tokens"] = duration(seconds)
    return headers


def duration(seconds: float) -> str:
    """Seconds as OpenAI's headers have them: 120ms, 1.5s, 6m0s, 23h59m59s."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{round(seconds, 3):g}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s"
