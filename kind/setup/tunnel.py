"""A way to the queue from this machine: `kubectl port-forward` on a free port of the loopback address."""

import re
import subprocess
from dataclasses import dataclass

from setup import install
from toolbox import steps

_PATTERN = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


@dataclass(frozen=True)
class Tunnel:
    """An open port-forward; close it when done."""

    url: str
    """Where the queue answers, without a path."""
    process: subprocess.Popen[str]

    def close(self) -> None:
        """End the port-forward."""
        self.process.terminate()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


def open_queue() -> Tunnel:
    """Forward a free port to the queue's Service.

    Raises:
        StepError: kubectl ended; the message holds what it said.
    """
    service = f"service/{install.RELEASE}-queue"
    command = install.kubectl_command("port-forward", "--address=127.0.0.1", service, ":8080")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = process.stdout.readline() if process.stdout else ""
    if found := _PATTERN.search(said):
        return Tunnel(f"http://127.0.0.1:{found[1]}", process)
    process.kill()
    raise steps.StepError(f"kubectl port-forward to the queue: {said.strip() or 'it said nothing'}")
