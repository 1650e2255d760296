"""What is told of the adapters of a worker: to its probes' page, its metrics and its queue. Pure."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Told:
    """What others are told of the adapters."""

    served: tuple[str, ...] = ()
    """The whole names that can be asked for."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why others cannot, or not from where they should come, by the adapter's own name."""
    restart: dict[str, str] = field(default_factory=dict)
    """The same for those that a restart of the worker would bring."""

    @property
    def text(self) -> str:
        """What is wrong, in words; empty when nothing is."""
        return "; ".join(f"the adapter {name}: {why}" for name, why in (self.failed | self.restart).items())
