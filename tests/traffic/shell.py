"""kubectl and helm on the local cluster, for a program that must not stand still meanwhile."""

import asyncio
import json
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import Any

from setup import install

NAMESPACE = "headrace-traffic"
"""An installation of its own, beside whatever else the cluster has. Not restricted: an engine is mounted into a pod."""
MODELS = "inferencemodels.headrace.dev"

Object = dict[str, Any]


async def run(*command: str | Path, text: str | None = None) -> str:
    """Run a command and return what it printed.

    Raises:
        RuntimeError: it failed; the message has its words.
    """
    words = [str(word) for word in command]
    stdin = DEVNULL if text is None else PIPE
    process = await asyncio.create_subprocess_exec(*words, stdin=stdin, stdout=PIPE, stderr=PIPE)
    said, complaint = await process.communicate(None if text is None else text.encode())
    if process.returncode:
        raise RuntimeError(f"{' '.join(words[-8:])}: {complaint.decode(errors='replace').strip()}")
    return said.decode()


async def kubectl(*arguments: str, text: str | None = None, namespace: str = NAMESPACE) -> str:
    """kubectl in the installation's namespace, or in another one."""
    return await run(*install.kubectl_command(*arguments, namespace=namespace), text=text)


async def apply(*objects: Object, namespace: str = NAMESPACE) -> None:
    """`kubectl apply` the objects."""
    await kubectl("apply", "-f", "-", text="\n---\n".join(json.dumps(one) for one in objects), namespace=namespace)


async def get(*arguments: str) -> Object:
    """`kubectl get` as JSON."""
    found: Object = json.loads(await kubectl("get", *arguments, "--output=json"))
    return found


async def pods(selector: str) -> list[Object]:
    """The pods with the labels that are not being deleted."""
    found = (await get("pods", "--selector", selector))["items"]
    return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]


def is_ready(pod: Object) -> bool:
    """Whether the pod serves."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def backs_off(pod: Object) -> bool:
    """Whether the kubelet waits before it starts the container again: after each kill, and ever longer."""
    statuses = pod.get("status", {}).get("containerStatuses", [])
    return any(one["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff" for one in statuses)
