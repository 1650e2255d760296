"""How far a starting worker is, in words: the same in conditions, on the command line and in logs."""

_GB = 10**9
_MB = 10**6


def amount(done_bytes: int | None, total_bytes: int | None) -> str:
    """`3.2 of 14.1 GB`, in MB below one GB; `3.2 GB` where the total is not known; empty where nothing is."""
    if done_bytes is None and total_bytes is None:
        return ""
    size, unit = (_GB, "GB") if max(done_bytes or 0, total_bytes or 0) >= _GB else (_MB, "MB")
    done = f"{(done_bytes or 0) / size:.1f}"
    return f"{done} {unit}" if total_bytes is None else f"{done} of {total_bytes / size:.1f} {unit}"


def words(state: str, done_bytes: int | None, total_bytes: int | None, detail: str | None) -> str:
    """`fetching 3.2 of 14.1 GB (model.safetensors)`."""
    parts = (state, amount(done_bytes, total_bytes), f"({detail})" if detail else "")
    return " ".join(part for part in parts if part)


def twentieths(done_bytes: int | None, total_bytes: int | None) -> int:
    """How many twentieths are done, 0 where that cannot be told: progress by a step worth telling."""
    return 20 * (done_bytes or 0) // total_bytes if total_bytes else 0
