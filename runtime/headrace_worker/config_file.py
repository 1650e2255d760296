"""Reads the worker's configuration from files, in either form."""

from dataclasses import dataclass
from pathlib import Path

from headrace_api import two_file
from headrace_api.toml_file import ConfigError, parse
from headrace_api.worker_config import WorkerConfig

_UTF_8 = "utf-8-sig"  # some editors begin a file with a byte order mark, which TOML does not know


@dataclass(frozen=True)
class Loaded:
    """What the files say."""

    config: WorkerConfig
    name: str
    """The file that has the generator section, for messages."""
    text: str
    """Its text, or nothing where it says the same in other words."""
    converted: bool = False
    """Whether it was the two-file form."""
    log_level: str | None = None
    """Where the environment has no `LOG_LEVEL`."""
    notes: tuple[str, ...] = ()
    """What people should know of the conversion."""


def load(config: Path | None, env: Path | None, cap: Path | None) -> Loaded:
    """Read and check the configuration: `config` alone, or `env` and `cap`.

    Raises:
        ConfigError: other files were given, one cannot be read, is not TOML, or says something that is not accepted.
    """
    match config, env, cap:
        case Path(), None, None:
            text = _text(config)
            return Loaded(parse(text, str(config), WorkerConfig), str(config), text)
        case None, Path(), Path():
            unified = two_file.read(_text(env), str(env), _text(cap), str(cap))
            name = f"{cap}, in edition 1"
            return Loaded(unified.config, name, "", converted=True, log_level=unified.log_level, notes=unified.notes)
        case None, Path(), None:
            raise ConfigError(f"-e {env}: cap.toml is missing; accepted: -e env.toml -c cap.toml")
        case None, None, Path():
            raise ConfigError(f"-c {cap}: env.toml is missing; accepted: -e env.toml -c cap.toml")
        case None, None, None:
            raise ConfigError("no configuration; accepted: --config worker_config.toml, or -e env.toml -c cap.toml")
        case _:
            given = ", ".join(option for option, path in (("-e", env), ("-c", cap)) if path)
            raise ConfigError(
                f"--config and {given}: two forms are mixed; accepted: --config worker_config.toml, or "
                "-e env.toml -c cap.toml"
            )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding=_UTF_8)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {line}: not UTF-8 text, which every TOML file is") from error
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path}: cannot read the configuration: {reason}") from error
