"""Images in the nodes' containerd: imported from OCI archives, once per content."""

import json
import tarfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from embedded import layout
from toolbox import steps

_NAMESPACE = "k8s.io"


def contents(archive: Path) -> dict[str, str]:
    """The images in an OCI archive: name, such as `docker.io/headrace/queue:dev`, and digest of each.

    Raises:
        StepError: the file is not an OCI archive, or an image in it has no name.
    """
    try:
        with tarfile.open(archive) as tar:
            names = [name for name in tar.getnames() if name.removeprefix("./") == "index.json"]
            index = tar.extractfile(names[0]) if names else None
            if index is None:
                raise steps.StepError(f"{archive}: not an OCI archive: it has no index.json")
            return {_name(archive, manifest): manifest["digest"] for manifest in json.load(index)["manifests"]}
    except (tarfile.TarError, ValueError, KeyError) as error:
        raise steps.StepError(f"{archive}: not an OCI archive: {error}") from error


def _name(archive: Path, manifest: dict[str, Any]) -> str:
    annotations = manifest.get("annotations", {})
    for key in ("io.containerd.image.name", "org.opencontainers.image.ref.name"):
        if name := annotations.get(key):
            return str(name)
    raise steps.StepError(f"{archive}: its image {manifest['digest']} has no name; a name is like docker.io/a/b:tag")


def import_everywhere(nodes: list[layout.Node], programs: Path, archives: Iterable[Path]) -> None:
    """Import `archives` into the containerd of every node, side by side."""
    wanted = list(archives)
    with ThreadPoolExecutor(max_workers=max(1, len(nodes))) as pool:
        list(pool.map(lambda node: import_into(node, programs, wanted), nodes))


def import_into(node: layout.Node, programs: Path, archives: Iterable[Path]) -> None:
    """Import `archives` into the node's containerd, leaving out what it already has.

    Args:
        node: which node; its containerd runs.
        programs: the folder that the Debian packages are unpacked in.
        archives: OCI archives whose images carry full names, such as `docker.io/headrace/queue:dev`.
    """
    memory = node.folder / "imported.json"
    known: dict[str, str] = json.loads(memory.read_text()) if memory.exists() else {}
    for archive in archives:
        found = contents(archive)
        if found.items() <= known.items():
            continue
        ctr: list[str | Path] = [programs / "usr/bin/ctr", "--address", node.socket, "--namespace", _NAMESPACE]
        steps.run([*ctr, "images", "import", archive], log=f"images-{node.index}")
        known.update(found)
        memory.write_text(json.dumps(known, indent=1))
