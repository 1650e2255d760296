"""Makes the go.mod of a program of ours that is built out of another project's packages.

The versions of a published module's dependencies are tested together, so they are taken over exactly. Kubernetes needs
one thing more: its own go.mod points to its sibling modules in the source tree (`k8s.io/api v0.0.0`, replaced by
`./staging/...`), which a consumer has to replace by the published modules of the same release.
"""

import re
from dataclasses import dataclass

_REQUIRE_LINE = re.compile(r"^\s*(?P<path>[^\s(]+)\s+(?P<version>v[^\s]+)(?P<comment>\s*//.*)?$")
_SIBLING_VERSION = "v0.0.0"


@dataclass(frozen=True)
class Requirement:
    """One line of a go.mod's require list."""

    path: str
    version: str


def requirements(go_mod: str) -> list[Requirement]:
    """Every module that the text of a go.mod requires, in its order, in blocks or in single lines."""
    found: list[Requirement] = []
    inside = False
    for line in go_mod.splitlines():
        bare = line.strip()
        if bare.startswith("require ("):
            inside = True
        elif inside and bare == ")":
            inside = False
        elif inside or bare.startswith("require "):
            match = _REQUIRE_LINE.match(bare.removeprefix("require "))
            if match:
                found.append(Requirement(match["path"], match["version"]))
    return found


def directive(go_mod: str, name: str) -> str | None:
    """The value of a one-line directive such as `go` or `godebug`, or None if the text has none."""
    match = re.search(rf"^{name} (\S+)$", go_mod, re.MULTILINE)
    return match[1] if match else None


def render(upstream_go_mod: str, module: str, version: str) -> str:
    """Return a go.mod for a main program that imports `module` at `version`.

    Args:
        upstream_go_mod: the text of that module's own go.mod.
        module: its path, such as `k8s.io/kubernetes`.
        version: its version, such as `v1.34.4`; sibling modules become `v0.34.4`.
    """
    sibling = "v0." + version.removeprefix("v").split(".", 1)[1]
    required: list[str] = [f"\t{module} {version}"]
    replaced: list[str] = []
    for item in requirements(upstream_go_mod):
        if item.version == _SIBLING_VERSION and item.path.startswith("k8s.io/"):
            required.append(f"\t{item.path} {sibling}")
            replaced.append(f"\t{item.path} => {item.path} {sibling}")
        else:
            required.append(f"\t{item.path} {item.version}")
    lines = ["module headrace.dev/embedded", "", f"go {directive(upstream_go_mod, 'go')}", ""]
    if godebug := directive(upstream_go_mod, "godebug"):
        lines += [f"godebug {godebug}", ""]
    lines += ["require (", *required, ")", ""]
    if replaced:
        lines += ["replace (", *replaced, ")", ""]
    return "\n".join(lines)
