"""The figures of one run, their targets and the table."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

_TIMES_OF_LIMIT = 2.0
_CPU_PERCENT = 2.0
_MEMORY_MIB = 250.0


@dataclass
class Report:
    """What was measured."""

    models: int
    children: int = 0
    """Children of one model."""
    limit_seconds: float = 0.0
    applied_seconds: float = 0.0
    ready_seconds: float = 0.0
    writes: Counter[str] = field(default_factory=Counter)
    """Of the whole creation, by resource."""
    events: int = 0
    cpu_seconds: float = 0.0
    """Of the operator, until all were ready."""
    rest_seconds: float = 0.0
    rest_writes: int = 0
    rest_cpu_percent: float = 0.0
    peak_mib: float = 0.0
    rest_mib: float = 0.0
    restart_seconds: float = 0.0
    restart_writes: int = 0
    restart_peak_mib: float = 0.0
    peer: dict[str, float] | None = None

    @property
    def writes_per_model(self) -> float:
        """Children and status; Events are counted by themselves."""
        return sum(self.writes.values()) / self.models

    def rows(self) -> Iterator[tuple[str, str, str, bool]]:
        """Name, figure, target, and whether it is reached."""
        times = self.applied_seconds / self.limit_seconds if self.limit_seconds else 0.0
        per_model = self.children + 2
        yield "a plain client writes the same", f"{self.limit_seconds:.1f} s", "", True
        yield "children and status written", f"{self.applied_seconds:.1f} s", "", True
        yield "  times the plain client", f"{times:.2f}", f"< {_TIMES_OF_LIMIT:.0f}", times < _TIMES_OF_LIMIT
        yield "all models ready", f"{self.ready_seconds:.1f} s", "", True
        yield "operator's CPU until then", f"{self.cpu_seconds:.1f} s", "", True
        yield "writes per model", f"{self.writes_per_model:.2f}", f"<= {per_model}", self.writes_per_model <= per_model
        yield "  Events per model, beside", f"{self.events / self.models:.2f}", "", True
        rest = f"in {self.rest_seconds:.0f} s at rest"
        yield f"writes {rest}", f"{self.rest_writes}", "0", self.rest_writes == 0
        cpu = self.rest_cpu_percent
        yield f"share of a core {rest}", f"{cpu:.2f} %", f"< {_CPU_PERCENT:.0f} %", cpu < _CPU_PERCENT
        for name, memory in (
            ("peak", self.peak_mib),
            ("at rest", self.rest_mib),
            ("peak after a restart", self.restart_peak_mib),
        ):
            yield f"memory, {name}", f"{memory:.0f} MiB", f"< {_MEMORY_MIB:.0f} MiB", memory < _MEMORY_MIB
        yield "ready again after a restart", f"{self.restart_seconds:.1f} s", "", True
        yield "writes after a restart", f"{self.restart_writes}", "0", self.restart_writes == 0

    @property
    def reached(self) -> bool:
        """Whether every target is."""
        return all(reached for *_, reached in self.rows())

    def table(self) -> str:
        """For people."""
        lines = [f"{self.models} models with {self.children} children each"]
        lines += [
            f"{name:36}{figure:>14}  {target:>10}  {'' if ok else 'MISSED'}" for name, figure, target, ok in self.rows()
        ]
        lines.append("writes: " + ", ".join(f"{name} {count}" for name, count in sorted(self.writes.items())))
        if self.peer:
            served, seconds = self.peer["served"], self.peer["seconds"]
            lines.append(
                f"the peer had made pods for {served:.0f} of {self.models} of its models after {seconds:.1f} s"
            )
        return "\n".join(lines) + "\n"

    def figures(self) -> dict[str, Any]:
        """For programs."""
        return {**asdict(replace(self, writes=Counter())), "writes": dict(self.writes)}  # asdict knows no Counter
