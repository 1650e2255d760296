"""The local cluster as the rest of the project uses it, whichever way it runs."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from embedded import cluster, engine, fakenodes, imagestore, kubeconfigs, layout, nodes, process, programs, recipes
from toolbox import paths, steps


def up(count: int = 1, fake_count: int = 0, *, embedded: bool = False) -> None:
    """Bring up a cluster of at least `count` real and `fake_count` fake nodes; safe to repeat.

    Args:
        count: real nodes.
        fake_count: fake GPU nodes.
        embedded: take the embedded cluster although a container engine answers; kind's nodes cannot be killed singly.

    Raises:
        StepError: with what failed; a repeated call goes on from there.
    """
    found = None if embedded else _engine()
    if found:
        engine.up(found, count)
    else:
        cluster.up(count)
    if fake_count:
        fakenodes.ensure(fake_count, kubectl())
    _say_how_to_use_it()


def down() -> None:
    """Remove the cluster and everything it made, but for logs and the cache; does nothing where there is none."""
    found = engine.answering()
    if found and engine.exists(found):
        engine.down(found)
    if os.geteuid() == 0 or cluster.exists():
        cluster.down()
    else:
        process.stop("kwok", kill=True)
    steps.say("the local cluster is down")


def exists() -> bool:
    """Whether there is a cluster, whole or partial."""
    found = engine.answering()
    return cluster.exists() or bool(found and engine.exists(found))


def import_images(archives: Iterable[Path]) -> None:
    """Put the images of OCI archives, such as `images.ensure` returns, on every node; skips what is there already."""
    found = _engine()
    if found:
        engine.import_images(found, archives)
    else:
        imagestore.import_everywhere(layout.nodes(), containerd_folder(), archives)


def kubectl() -> Path:
    """A kubectl of the cluster's own version."""
    return programs.fetch(recipes.KUBERNETES) / "kubectl"


def helm() -> Path:
    """The helm program."""
    return programs.fetch(recipes.HELM) / "helm"


def kubeconfig() -> Path:
    """The administrator's kubeconfig."""
    return layout.kubeconfig()


def containerd_folder() -> Path:
    """The folder with containerd, runc and the CNI plugins."""
    return programs.gather().containerd


def stop_node(name: str) -> None:
    """Kill the kubelet and containerd of node `name`, such as `headrace-2`, as a crash would.

    The node's pods go on running until their processes end; the control plane gives them up (see controlplane.py).
    """
    nodes.kill(layout.node_named(name))


def start_node(name: str) -> None:
    """Start the kubelet and containerd of node `name` again."""
    found = programs.gather()
    node = layout.node_named(name)
    nodes.start_containerd(node, found)
    nodes.join(node, found)


def fake_gpus(node: str, count: int) -> None:
    """Make the real node `node` have `count` GPUs, as far as the scheduler and the kubelet's accounting go."""
    status = {"capacity": {"nvidia.com/gpu": str(count)}, "allocatable": {"nvidia.com/gpu": str(count)}}
    patch = ["patch", "node", node, "--subresource=status", "--type=merge", f"--patch={json.dumps({'status': status})}"]
    steps.run([kubectl(), "--kubeconfig", kubeconfig(), *patch], log="fake-gpus")


def _say_how_to_use_it() -> None:
    folder = paths.state_dir() / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    for program in (kubectl(), helm()):
        link = folder / program.name
        if not link.is_symlink() or link.readlink() != program:
            link.unlink(missing_ok=True)
            link.symlink_to(program)
    print(f"kubectl and helm use the context {layout.NAME}, now current in {kubeconfigs.users_file()}.")
    print(f"Without your own: export PATH={folder}:$PATH")


def _engine() -> str | None:
    """The engine the cluster runs in: an embedded cluster that is there stays the one that is used."""
    return None if cluster.exists() else engine.answering()
