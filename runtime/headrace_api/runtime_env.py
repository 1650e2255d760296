"""Ray's runtime environment, as far as it can be made of a worker's engine: `env_vars` and `pip`.

Ray builds the environment of its own worker processes; here the engine is one process in an image. So variables and
further Python packages are possible, and what would replace interpreter, image or code is refused with the reason.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_NO_SECOND = "the engine runs in the interpreter that it was installed in"
_IN_THE_IMAGE = "the engine's code is in its image: put yours there, or mount it and name the folder in PYTHONPATH"
_RAY = "it is for Ray's own worker processes"
_REFUSED: Mapping[str, tuple[str, str]] = {
    "uv": (_NO_SECOND, "write the packages under pip"),
    "conda": (_NO_SECOND, "write the packages under pip, or put the environment into the image"),
    "working_dir": (_IN_THE_IMAGE, "leave it out"),
    "py_modules": (_IN_THE_IMAGE, "leave it out"),
    "py_executable": (_NO_SECOND, "leave it out"),
    "container": ("a pod's image is the installation's, or that of spec.template", "leave it out"),
    "image_uri": ("a pod's image is the installation's, or that of spec.template", "leave it out"),
    "java_jars": (_RAY, "leave it out"),
    "worker_process_setup_hook": (_RAY, "leave it out"),
    "excludes": ("it says what of working_dir is not copied", "leave it out"),
    "config": ("Ray's timeouts mean nothing here", "leave it out"),
    "nsight": (_RAY, "leave it out"),
    "mpi": (_RAY, "leave it out"),
}
_PIP_KEYS = ("packages", "pip_install_options", "pip_check", "pip_version")


@dataclass(frozen=True)
class Pip:
    """Packages that the engine shall find beside its own."""

    packages: tuple[str, ...]
    """Requirements, as in a requirements file."""
    options: tuple[str, ...] = ()
    """For `pip install`."""
    check: bool = False
    """Whether `pip check` shall find nothing."""


@dataclass(frozen=True)
class Refused:
    """A key that is not accepted."""

    key: str
    """Dotted: `pip.packages`."""
    reason: str
    hint: str


def refused(others: Mapping[str, Any]) -> Iterator[Refused]:
    """What cannot be done of a runtime environment's keys other than `env_vars`."""
    for key, value in others.items():
        if key == "pip":
            yield from _wrong_in_pip(value)
        elif value is not None:
            reason, hint = _REFUSED.get(key, ("it is no key of Ray's runtime environments", "leave it out"))
            yield Refused(key, reason, hint)


def pip(others: Mapping[str, Any]) -> Pip | None:
    """The packages of a runtime environment in which `refused` finds nothing; None where it has none."""
    given = others.get("pip")
    if isinstance(given, list):
        given = {"packages": given}
    if not given or not given.get("packages"):
        return None
    options = tuple(given.get("pip_install_options") or ())
    return Pip(tuple(given["packages"]), options, bool(given.get("pip_check")))


def _wrong_in_pip(value: Any) -> Iterator[Refused]:
    if isinstance(value, str):
        hint = "write the requirements themselves, as a list"
        yield Refused("pip", f"{value!r:.80} names a file, whose content nobody sees", hint)
        return
    if value is None or isinstance(value, list):
        yield from _wrong_texts("pip", value or [])
        return
    if not isinstance(value, dict):
        yield Refused("pip", f"{value!r:.80} is neither a list nor a map", "write a list of requirements")
        return
    for key in value.keys() - set(_PIP_KEYS):
        yield Refused(f"pip.{key}", "it is no key of Ray's pip", f"write one of {', '.join(_PIP_KEYS)}")
    if value.get("pip_version") is not None:
        yield Refused("pip.pip_version", "the worker's own pip is used", "leave it out")
    if not isinstance(value.get("pip_check", False), bool):
        yield Refused("pip.pip_check", f"{value['pip_check']!r:.80} is not true or false", "write true or false")
    yield from _wrong_texts("pip.packages", value.get("packages"))
    yield from _wrong_texts("pip.pip_install_options", value.get("pip_install_options") or [], options=True)


def _wrong_texts(key: str, value: Any, *, options: bool = False) -> Iterator[Refused]:
    if not isinstance(value, list):
        yield Refused(key, f"{value!r:.80} is not a list", "write a list of texts")
        return
    for item in value:
        if not isinstance(item, str) or not item.strip():
            yield Refused(key, f"{item!r:.80} is not a text", "write a list of texts")
        elif item.startswith("-") and not options:
            yield Refused(key, f"{item!r:.80} is an option of pip", "write it under pip.pip_install_options")
