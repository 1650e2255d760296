"""kubectl as a child process: the CLI's only way to a cluster. Everything reads, forwards a port, or is a dry run."""

import json
import subprocess
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from headrace_cli.errors import Trouble

Object = dict[str, Any]


@dataclass(frozen=True)
class Kubectl:
    """kubectl with the options that say which cluster and namespace."""

    context: str | None = None
    namespace: str | None = None
    kubeconfig: str | None = None

    def get(self, *arguments: str) -> list[Object]:
        """The objects that `kubectl get` finds; none when there are none.

        Raises:
            Trouble: kubectl says so.
        """
        text = self._run("get", *arguments, "--ignore-not-found", "--output=json")
        if not text.strip():
            return []
        found: Object = json.loads(text)
        return list(found["items"]) if found.get("kind", "").endswith("List") else [found]

    def raw(self, path: str) -> str:
        """What the API server answers to a GET of `path`, within 5 s: what it passes on to may not be there.

        Raises:
            Trouble: kubectl says so.
        """
        return self._run("get", "--raw", path, "--request-timeout=5s")

    def lines(self, *arguments: str) -> Generator[str]:
        """Each line that kubectl prints, as soon as it does, until it ends or is no longer listened to.

        Raises:
            Trouble: kubectl ended with an error.
        """
        return _lines(self._command(*arguments))

    def would_apply(self, item: Object) -> Object:
        """What the API server would make of `kubectl apply`: a dry run on the server.

        Raises:
            Trouble: kubectl or the API server refuses.
        """
        return self._dry_run(item)

    def would_apply_as(self, item: Object, manager: str) -> Object:
        """The same for server-side apply, taking over fields of others, by the field manager `manager`.

        Raises:
            Trouble: kubectl or the API server refuses.
        """
        return self._dry_run(item, "--server-side", "--force-conflicts", f"--field-manager={manager}")

    def _dry_run(self, item: Object, *options: str) -> Object:
        arguments = ("apply", "--dry-run=server", "--output=json", *options, "--filename=-")
        answer: Object = json.loads(self._run(*arguments, text=json.dumps(item)))
        return answer

    def _run(self, *arguments: str, text: str | None = None) -> str:
        return _output(self._command(*arguments), text)

    def _command(self, *arguments: str) -> list[str]:
        where = {"--context": self.context, "--namespace": self.namespace, "--kubeconfig": self.kubeconfig}
        options = [f"{name}={value}" for name, value in where.items() if value is not None]
        return ["kubectl", *options, *arguments]


def _output(command: Sequence[str], text: str | None) -> str:
    try:
        result = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    except OSError as error:
        raise _cannot_start(error) from None
    if result.returncode:
        raise _trouble(result.stderr, result.returncode)
    return result.stdout


def _lines(command: Sequence[str]) -> Generator[str]:
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    except OSError as error:
        raise _cannot_start(error) from None
    with process:
        try:
            for line in process.stdout or ():
                yield line.rstrip("\n")
            if status := process.wait():
                raise Trouble(f"kubectl ended with status {status}")
        finally:
            process.terminate()


def _cannot_start(error: OSError) -> Trouble:
    return Trouble(f"kubectl cannot be started: {error.strerror}")


def _trouble(said: str, status: int) -> Trouble:
    if "doesn't have a resource type" in said:
        return Trouble(f"{said.strip()}: is Headrace installed in this cluster? Its CRD is what headrace crd prints")
    return Trouble(said.strip() or f"kubectl ended with status {status}")
