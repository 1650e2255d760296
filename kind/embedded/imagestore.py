"""Images in the nodes' containerd: imported from OCI archives, once per content."""

import hashlib
import json
import tarfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from toolbox import steps

from embedded import layout

_NAMESPACE = "k8s.io"


def fingerprint(archive: Path) -> str:
    """What an OCI archive holds, in short: a digest of its index, which names every image's content by digest.

    Raises:
        StepError: the file is not an OCI archive.
    """
    try:
        with tarfile.open(archive) as tar:
            names = [name for name in tar.getnames() if name.removeprefix("./") == "index.json"]
            index = tar.extractfile(names[0]) if names else None
            if index is None:
                raise steps.StepError(f"{archive}: not an OCI archive: it has no index.json")
            return hashlib.sha256(index.read()).hexdigest()
    except tarfile.TarError as error:
        raise steps.StepError(f"{archive}: not an OCI archive: {error}") from error


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
        content = fingerprint(archive)
        if content in known:
            continue
        ctr: list[str | Path] = [programs / "usr/bin/ctr", "--address", node.socket, "--namespace", _NAMESPACE]
        steps.run([*ctr, "images", "import", archive], log=f"images-{node.index}")
        known[content] = str(archive)
        memory.write_text(json.dumps(known, indent=1))
