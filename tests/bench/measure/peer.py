"""A peer's operator, ready-made: how many of its models it has made a pod for, and when."""

import asyncio
import os
import shlex
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.bench.measure.client import NAMESPACE, Client
from tests.bench.measure.program import Program
from tests.plane import Plane

_LOOK_SECONDS = 2.0
_STARTING_SECONDS = 5.0


@dataclass(frozen=True)
class PeerFiles:
    """What a peer needs."""

    command: str
    """The program and its options."""
    crds: str
    """A file or a folder."""
    model: str
    """A manifest with NAME in it."""
    resource: str
    """The resource of its models, in the plural."""

    @classmethod
    def read(cls, command: str) -> "PeerFiles":
        """From the environment.

        Raises:
            KeyError: a variable is missing.
        """
        variable = os.environ.__getitem__
        prefix = "HEADRACE_BENCH_PEER_"
        return cls(command, variable(f"{prefix}CRDS"), variable(f"{prefix}MODEL"), variable(f"{prefix}RESOURCE"))


async def measure(plane: Plane, client: Client, files: PeerFiles, models: int, give_up: float) -> dict[str, float]:
    """Create as many of the peer's models, of one pod each; returns how many had it (`served`) after `seconds`."""
    await asyncio.to_thread(plane.kubectl, "apply", "--server-side", "-f", files.crds)
    await client.make_namespace()
    program = Program(plane, "peer", shlex.split(files.command), {"POD_NAMESPACE": NAMESPACE})
    program.start()
    try:
        await asyncio.sleep(_STARTING_SECONDS)
        text = await asyncio.to_thread(Path(files.model).read_text)
        items = [yaml.safe_load(text.replace("NAME", f"model-{number}")) for number in range(models)]
        path = f"/apis/{items[0]['apiVersion']}/namespaces/{NAMESPACE}/{files.resource}"
        began, served = time.perf_counter(), 0
        making = asyncio.create_task(client.make_all(path, items))
        while served < models and time.perf_counter() - began < give_up:
            await asyncio.sleep(_LOOK_SECONDS)
            served = await client.count(f"/api/v1/namespaces/{NAMESPACE}/pods")
        await making
        return {"served": served, "seconds": time.perf_counter() - began, "peak_mib": program.memory_mib("VmHWM")}
    finally:
        program.stop()
