"""What can be set of keys; the command line fills it."""

from dataclasses import dataclass, field
from pathlib import Path

from headrace_api.keys import KeyLimits


@dataclass(frozen=True)
class KeySettings:
    """What can be set of keys; `docs/keys.md` describes each option."""

    file: Path | None = None
    required: bool = False
    default_limits: KeyLimits = field(default_factory=KeyLimits)
    admin_key: str | None = None
    anonymous_workers: bool | None = None
