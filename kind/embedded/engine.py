"""The cluster in a container engine: kind, with Docker or Podman."""

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from toolbox import paths, steps

from embedded import kubeconfigs, layout, programs, recipes, versions

_CONFIG = paths.ROOT / "kind" / "cluster.yaml"
_ANSWER_SECONDS = 10


def answering() -> str | None:
    """The container engine that answers on this machine, `docker` or `podman`, or None."""
    for name in ("docker", "podman"):
        try:
            result = subprocess.run([name, "info"], capture_output=True, timeout=_ANSWER_SECONDS, check=False)
        except (FileNotFoundError, subprocess.TimeoutExpired):
            continue
        if result.returncode == 0:
            return name
    return None


def configuration(text: str, count: int) -> str:
    """Kind's configuration `text`, which ends in its list of nodes, with workers added up to `count` nodes."""
    return text.rstrip("\n") + "\n" + "  - role: worker\n" * (count - 1)


def up(engine: str, count: int) -> None:
    """Make the kind cluster if it is not there, and its kubeconfig, under the context `headrace`."""
    if layout.NAME not in _clusters(engine):
        with steps.step(f"kind cluster in {engine}"):
            command = ["create", "cluster", "--config=-", "--image", versions.KIND_NODE_IMAGE, "--wait=120s"]
            text = configuration(_CONFIG.read_text(), count)
            create = [*command, "--kubeconfig", str(layout.kubeconfig())]
            steps.run([kind(), *create], log="kind", env=_environment(engine), stdin=text)
    elif (present := len(nodes(engine))) < count:
        raise steps.StepError(f"kind cannot add nodes to a cluster ({present} now, {count} wanted): kind/down first")
    text = steps.capture([kind(), "get", "kubeconfig", "--name", layout.NAME], env=_environment(engine))
    kubeconfigs.replace(layout.kubeconfig(), text)
    kubectl = programs.fetch(recipes.KUBERNETES) / "kubectl"
    context: list[str | Path] = [
        "config",
        "--kubeconfig",
        layout.kubeconfig(),
        "rename-context",
        f"kind-{layout.NAME}",
        layout.NAME,
    ]
    steps.run([kubectl, *context], log="kubeconfig")
    kubeconfigs.publish(kubectl)


def down(engine: str) -> None:
    """Remove the kind cluster and its context; does nothing where there is none."""
    kubectl = programs.installed_kubectl()
    if kubectl:
        kubeconfigs.withdraw(kubectl)
    if exists(engine):
        steps.run([kind(), "delete", "cluster", "--name", layout.NAME], log="kind", env=_environment(engine))
    layout.kubeconfig().unlink(missing_ok=True)


def exists(engine: str) -> bool:
    """Whether the kind cluster is there; kind itself is not fetched to find that out."""
    return bool(nodes(engine))


def nodes(engine: str) -> list[str]:
    """Names of the containers that are the cluster's nodes."""
    query = ["ps", "--all", "--filter", f"label=io.x-k8s.kind.cluster={layout.NAME}", "--format", "{{.Names}}"]
    return sorted(steps.capture([engine, *query]).split())


def import_images(engine: str, archives: Iterable[Path]) -> None:
    """Load OCI archives into every node."""
    for archive in archives:
        command: list[str | Path] = ["load", "image-archive", archive, "--name", layout.NAME]
        steps.run([kind(), *command], log="kind", env=_environment(engine))


def kind() -> Path:
    """The kind program."""
    return programs.fetch(recipes.KIND) / "kind"


def _clusters(engine: str) -> list[str]:
    return [layout.NAME] if exists(engine) else []


def _environment(engine: str) -> dict[str, str]:
    return {**os.environ, "KIND_EXPERIMENTAL_PROVIDER": engine}
