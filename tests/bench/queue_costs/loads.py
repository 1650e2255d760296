"""What is asked for in each load, and what is reckoned from it."""

import statistics
from dataclasses import dataclass, field
from typing import Any

KEY = "hr-bench-secret-of-the-benchmark"
"""What every request has in `Authorization`; of ours the queue knows it, most peers do not look at it."""


@dataclass(frozen=True)
class Kind:
    """A load: `unit` is what its figure counts per CPU-second."""

    name: str
    unit: str
    connections: int
    requests: int
    tokens: int
    stream: bool
    pace_ms: float = 0.0
    """Between the tokens of one stream; 0 is as fast as possible."""

    def wanted(self, url: str) -> dict[str, Any]:
        """For the load generator."""
        return {
            "url": url,
            "key": KEY,
            "connections": self.connections,
            "requests": self.requests,
            "tokens": self.tokens,
            "stream": self.stream,
            "gaps": self.pace_ms > 0,
        }


REQUESTS = Kind("requests", "requests", 64, 8000, 16, stream=False)
CLUMPED = Kind("clumped", "tokens", 64, 1280, 128, stream=True)
PACED = Kind("paced", "tokens", 200, 400, 200, stream=True, pace_ms=10)
LOADS = (REQUESTS, CLUMPED, PACED)
ONE = Kind("one connection", "requests", 1, 500, 1, stream=False)
ONE_STREAM = Kind("one connection, streamed", "requests", 1, 500, 1, stream=True)
BURST = Kind("1,000 at once", "requests", 1000, 1000, 16, stream=False)
OPEN = Kind("5,000 open streams", "tokens", 5000, 5000, 10, stream=True, pace_ms=2000)


@dataclass
class Round:
    """One load on one subject, once."""

    seen: dict[str, Any]
    cpu: dict[str, float]
    """CPU-seconds of each of its programs."""

    def per_cpu_second(self, unit: str, part: str | None = None) -> float:
        """Requests or tokens; of one program, or of all together."""
        cpu = self.cpu[part] if part else sum(self.cpu.values())
        done = self.seen["answers" if unit == "requests" else "tokens"]
        return float(done / cpu) if cpu else 0.0

    def percentile(self, name: str, percent: float) -> float:
        """Of `first_ms` or `gaps_ms`."""
        values = sorted(self.seen[name])
        return float(values[min(len(values) - 1, int(len(values) * percent / 100))]) if values else float("nan")


@dataclass
class Rounds:
    """One subject's, by load, in the order in which they were taken: the n-th of all subjects belong together."""

    taken: dict[str, list[Round]] = field(default_factory=dict)

    def add(self, kind: Kind, one: Round) -> None:
        """Keep a round."""
        self.taken.setdefault(kind.name, []).append(one)

    def figure(self, kind: Kind, part: str | None = None) -> float:
        """The median per CPU-second."""
        return statistics.median(one.per_cpu_second(kind.unit, part) for one in self.taken[kind.name])

    def ratio(self, peer: "Rounds", kind: Kind, part: str | None = None) -> float:
        """The median of the ratios to a peer's figures of the same turn."""
        pairs = zip(self.taken[kind.name], peer.taken[kind.name], strict=True)
        return statistics.median(
            mine.per_cpu_second(kind.unit, part) / max(theirs.per_cpu_second(kind.unit), 1e-9) for mine, theirs in pairs
        )

    def percentile(self, kind: Kind, name: str, percent: float) -> float:
        """The median of the rounds' percentiles, in ms."""
        return statistics.median(one.percentile(name, percent) for one in self.taken[kind.name])

    def errors(self, kind: Kind) -> int:
        """Of all rounds."""
        return sum(one.seen["errors"] for one in self.taken[kind.name])
