"""Installing Headrace into the local cluster: images in, chart on."""

import json
from collections.abc import Mapping
from pathlib import Path

import images
from embedded import local
from toolbox import paths, steps

NAMESPACE = "headrace"
RELEASE = "headrace"
PROGRAMS = ("operator", "queue", "runtime-llamacpp")
CHART = paths.ROOT / "charts" / "headrace"


def cluster_and_images(nodes: int, *, embedded: bool = False) -> None:
    """Bring up the cluster and, beside that, make the images; then put them on the nodes.

    Args:
        nodes: how many nodes the cluster has at least.
        embedded: take the embedded cluster although a container engine answers.
    """
    archives: dict[str, Path] = {}
    steps.side_by_side(
        {
            "images": lambda: archives.update(images.ensure(PROGRAMS)),
            f"cluster of {nodes} node{'s' if nodes > 1 else ''}": lambda: local.up(nodes, embedded=embedded),
        }
    )
    with steps.step("images onto the nodes"):
        local.import_images(archives.values())


def chart(values: Mapping[str, str]) -> None:
    """Install or upgrade the chart, in a namespace that enforces the restricted profile, and wait until it runs.

    Args:
        values: `--set` values beside those for the images that `cluster_and_images` made.
    """
    _namespace()
    _forget_what_was_cut_off()
    tags = {"operator.image.tag": "operator", "queue.image.tag": "queue"}
    tags["runtime.images.LlamaCppEngine.tag"] = "runtime-llamacpp"
    settings = {**{name: images.tag(image) for name, image in tags.items()}, **values}
    command: list[str | Path] = [local.helm(), "--kubeconfig", local.kubeconfig(), "upgrade", "--install", RELEASE]
    command += [CHART, "--namespace", NAMESPACE, "--wait", "--timeout", "180s", "--reset-then-reuse-values"]
    for name, value in settings.items():
        command += ["--set", f"{name}={value}"]
    try:
        steps.run(command, log="helm")
    except steps.StepError as error:
        raise steps.StepError(f"{error}\n{_what_runs()}") from None


def _forget_what_was_cut_off() -> None:
    """Let helm forget what it was at when it was killed, or it would refuse all that follows.

    Such a release has the status pending-install, pending-upgrade or pending-rollback (helm's `release.Status`).
    """
    stages = "status in (pending-install,pending-upgrade,pending-rollback)"
    kubectl("delete", "secrets", "--selector", f"owner=helm,name={RELEASE},{stages}")


def _what_runs() -> str:
    """The pods and the last lines of the programs, for a failure's message."""
    questions = (
        ("get", "pods", "--output=wide"),
        ("logs", "--selector=app.kubernetes.io/instance", "--tail=15", "--prefix"),
    )
    said = ""
    for question in questions:
        try:
            said += steps.capture(kubectl_command(*question))
        except steps.StepError as error:  # a container that never ran has no log; the first failure is what counts
            said += f"{error}\n"
    return said


def kubectl_command(*arguments: str, namespace: str = NAMESPACE) -> list[str | Path]:
    """The command line of kubectl on the local cluster, in Headrace's namespace unless another is given."""
    return [local.kubectl(), "--kubeconfig", local.kubeconfig(), "--namespace", namespace, *arguments]


def kubectl(*arguments: str, text: str | None = None) -> None:
    """Run kubectl in Headrace's namespace.

    Raises:
        StepError: it failed; the message holds what it said.
    """
    steps.run(kubectl_command(*arguments), log="kubectl", stdin=text)


def _namespace() -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    kubectl("apply", "-f", "-", text=json.dumps(manifest))
