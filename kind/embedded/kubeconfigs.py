"""kubeconfig files: the cluster's own, and its context in the user's file, put in and taken out as kind does."""

import json
import os
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolbox import paths, steps

from embedded import layout

_OUR_NAMES = (layout.NAME, f"kind-{layout.NAME}")


def render(user: str, authority: bytes, certificate: bytes, key: bytes) -> str:
    """A kubeconfig for `user` (JSON, which is YAML too) with everything embedded.

    Args:
        user: name of the entry; what the API server takes as the user's name is in the certificate.
        authority: the cluster authority's certificate, PEM.
        certificate: the user's certificate, PEM.
        key: the user's private key, PEM.
    """
    cluster = {"server": layout.API_URL, "certificate-authority-data": b64encode(authority).decode()}
    credentials = {
        "client-certificate-data": b64encode(certificate).decode(),
        "client-key-data": b64encode(key).decode(),
    }
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": layout.NAME, "cluster": cluster}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": layout.NAME, "context": {"cluster": layout.NAME, "user": user}}],
        "current-context": layout.NAME,
    }
    return json.dumps(content, indent=1) + "\n"


def write(path: Path, user: str, certificate: str) -> Path:
    """Write a kubeconfig with the certificate of that name to `path`, readable by its owner only; return `path`."""
    folder = layout.pki_dir()
    files = ("ca.crt", f"{certificate}.crt", f"{certificate}.key")
    text = render(user, *((folder / name).read_bytes() for name in files))
    replace(path, text)
    return path


def replace(path: Path, text: str) -> None:
    """Write `text` to `path` in one go, readable by its owner only; leave a file that has that content alone."""
    if path.exists() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.touch(mode=0o600)
    partial.write_text(text)
    partial.rename(path)


def users_file() -> Path:
    """The user's own kubeconfig: the first entry of `$KUBECONFIG`, else `~/.kube/config`."""
    entries = [entry for entry in os.environ.get("KUBECONFIG", "").split(os.pathsep) if entry]
    return Path(entries[0]) if entries else Path.home() / ".kube" / "config"


def publish(kubectl: Path) -> None:
    """Put the cluster's context into the user's file and make it current; remember which was current before."""
    target = users_file()
    if target.resolve() == layout.kubeconfig().resolve():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    present = _read(kubectl, target)
    if ours(present) == ours(_read(kubectl, layout.kubeconfig())):
        return
    former = str(present.get("current-context", ""))
    if former not in _OUR_NAMES:
        replace(_memory(), json.dumps({"file": str(target), "current-context": former}))
    _forget(kubectl, target)
    # of two files that name a current context the first wins
    environment = {"KUBECONFIG": f"{layout.kubeconfig()}{os.pathsep}{target}"}
    merged = steps.capture([kubectl, "config", "view", "--flatten", "--raw"], env=environment)
    replace(target.resolve(), merged)


def ours(content: Mapping[str, Any]) -> dict[str, Any]:
    """What of a kubeconfig's content is about our cluster, to see whether two files agree on it."""
    sections = ("contexts", "clusters", "users")
    found = {
        section: [entry for entry in content.get(section) or [] if entry["name"] in _OUR_NAMES] for section in sections
    }
    return {**found, "current-context": content.get("current-context")}


def withdraw(kubectl: Path) -> None:
    """Take the cluster's context out of the user's file again and make the former one current."""
    memory = json.loads(_memory().read_text()) if _memory().exists() else {}
    target = Path(memory.get("file") or users_file())
    if not target.exists() or target.resolve() == layout.kubeconfig().resolve():
        return
    content = _read(kubectl, target)
    _forget(kubectl, target)
    if content.get("current-context") in _OUR_NAMES:
        former = memory.get("current-context", "")
        known = {context["name"] for context in content.get("contexts") or []}
        config: list[str | Path] = [kubectl, "config", "--kubeconfig", target]
        chosen = ["use-context", former] if former in known else ["unset", "current-context"]
        steps.run([*config, *chosen], log="kubeconfig")
    _memory().unlink(missing_ok=True)


def _forget(kubectl: Path, target: Path) -> None:
    content = _read(kubectl, target)
    for kind, section in (("context", "contexts"), ("cluster", "clusters"), ("user", "users")):
        for entry in content.get(section) or []:
            if entry["name"] in _OUR_NAMES:
                words = [f"delete-{kind}", str(entry["name"])]
                steps.run([kubectl, "config", "--kubeconfig", target, *words], log="kubeconfig")


def _read(kubectl: Path, target: Path) -> dict[str, Any]:
    command: list[str | Path] = [kubectl, "config", "view", "--raw", "-o", "json", "--kubeconfig", target]
    return dict(json.loads(steps.capture(command)))


def _memory() -> Path:
    """Which file got our context, and which context was current there before; present until kind/down."""
    return paths.state_dir() / "former-context.json"
