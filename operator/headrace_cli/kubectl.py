"""kubectl as a child process: the CLI's only way to a cluster. Everything here reads, or is a dry run."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headrace_cli.errors import Trouble

Object = dict[str, Any]


@dataclass(frozen=True)
class Kubectl:
    """kubectl with the options that say which cluster and namespace."""

    context: str | None = None
    namespace: str | None = None

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
        where = {"--context": self.context, "--namespace": self.namespace}
        options = [f"{name}={value}" for name, value in where.items() if value is not None]
        return _output(["kubectl", *options, *arguments], text)


def _output(command: Sequence[str], text: str | None) -> str:
    try:
        result = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Trouble(f"kubectl cannot be started: {error.strerror}") from None
    if result.returncode:
        raise Trouble(result.stderr.strip() or f"kubectl ended with status {result.returncode}")
    return result.stdout
