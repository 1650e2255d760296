"""Starts operators by forking: the imports are done once, so that a test can kill and restart hundreds of them.

Run as a program it reads one JSON object a line, `{"environment": {...}, "log": PATH}`, and answers with the pid of an
operator that it forked. An operator is a process like any other; the zygote's own end does not end it.
"""

import json
import os
import random
import signal
import sys
from typing import NoReturn

from kubernetes.aio.config import kube_config

from headrace_operator import __main__ as operator


def main() -> None:
    """Fork an operator for each line of standard input."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps them
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _be_operator(order["environment"], order["log"])
        print(pid, flush=True)  # noqa: T201  # the protocol


def _be_operator(environment: dict[str, str], log: str) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, target in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (output, 2)):
        os.dup2(number, target)
    random.seed()  # else every operator has the same jitter
    os.environ.update(environment)
    kube_config.KUBE_CONFIG_DEFAULT_LOCATION = environment["KUBECONFIG"]  # read from the environment at import
    sys.argv = ["headrace-operator"]
    status = 1
    try:
        operator.main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
