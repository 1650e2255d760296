"""What a folder of packages is named by, and the commands that fill it. Pure."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace_api.runtime_env import Pip

PROBE = """
import hashlib, importlib.metadata, json, sys, sysconfig
found = sorted(((d.name or "").lower(), d.version) for d in importlib.metadata.distributions())
said = json.dumps([sys.version, sysconfig.get_platform(), sys.prefix, found])
print(hashlib.sha256(said.encode()).hexdigest())
"""
"""Has an interpreter print a digest of what it is and what it has: what pip decides by."""

_ALWAYS = ("--no-input", "--disable-pip-version-check", "--retries", "2", "--timeout", "15")


@dataclass(frozen=True)
class Pips:
    """How pip is run for an engine."""

    python: str
    """The interpreter whose pip it is: the worker's."""
    target: str
    """The interpreter that the packages are for: the engine's, which need not have pip."""

    def dry_run(self, pip: Pip, report: Path) -> list[str]:
        """The command that decides what has to be installed beside what the engine has, and reports it."""
        options = ("--dry-run", "--quiet", "--report", str(report))
        return self._pip("install", *options, *pip.options, *pip.packages)

    def install(self, pip: Pip, decided: Sequence[str], folder: Path) -> list[str]:
        """The command that installs exactly that into a folder.

        `--target` alone does not look at what is there: it would install a second torch for whoever asks for a package
        that needs one.
        """
        return self._pip("install", "--no-deps", "--target", str(folder), *pip.options, *decided)

    def check(self) -> list[str]:
        """The command that finds what does not go together."""
        return self._pip("check")

    def probe(self) -> list[str]:
        """The command that prints what the engine's interpreter is."""
        return [self.target, "-I", "-c", PROBE]

    def _pip(self, command: str, *arguments: str) -> list[str]:
        return [self.python, "-m", "pip", "--python", self.target, *_ALWAYS, command, *arguments]


def key(pip: Pip, interpreter: str) -> str:
    """32 hex digits of what is asked for and of what it is for.

    Args:
        pip: the packages.
        interpreter: what `PROBE` printed.
    """
    asked = json.dumps([pip.packages, pip.options, pip.check, interpreter])
    return hashlib.sha256(asked.encode()).hexdigest()[:32]


def decided(report: Mapping[str, Any]) -> list[str]:
    """The exact requirements of pip's report (its format 1): a version, or the address where it was named by one."""
    return [_exactly(item) for item in report.get("install", [])]


def _exactly(item: Mapping[str, Any]) -> str:
    name, version = item["metadata"]["name"], item["metadata"]["version"]
    return f"{name} @ {_address(item['download_info'])}" if item.get("is_direct") else f"{name}=={version}"


def _address(info: Mapping[str, Any]) -> str:
    """What PEP 610 has in parts, as a requirement has it: of a repository the commit that was found."""
    repository = info.get("vcs_info")
    url = f"{repository['vcs']}+{info['url']}@{repository['commit_id']}" if repository else info["url"]
    hashes = info.get("archive_info", {}).get("hashes", {})
    fragments = [f"{kind}={digest}" for kind, digest in list(hashes.items())[:1]]
    fragments += [f"subdirectory={info['subdirectory']}"] if info.get("subdirectory") else []
    return f"{url}#{'&'.join(fragments)}" if fragments else str(url)


def hint(lines: Sequence[str]) -> str:
    """What to do, where pip's own words do not say; empty where they do."""
    if any("from versions: none" in line for line in lines):
        return (
            "\nNo package index has it, or none can be reached from here: name one in PIP_INDEX_URL, or set "
            'pip_install_options = ["--no-index", "--find-links", FOLDER], or put the packages into the image'
        )
    return ""


def python_path(folder: Path, environment: Mapping[str, str]) -> str:
    """PYTHONPATH with the folder before what it has."""
    return ":".join(part for part in (str(folder), environment.get("PYTHONPATH", "")) if part)
