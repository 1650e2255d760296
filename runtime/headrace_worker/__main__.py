"""`headrace-worker`: hears SIGTERM from its first moment on, then loads the program (`cli`) as quickly as that goes."""

import gc
import os
import signal
import sys
from collections.abc import Callable


def main() -> None:
    """The console script."""
    # As the first process of a container the worker gets no signal that it has no handler for, and loading the program
    # takes about a second. Until `app.run` takes over there is nothing to clean up; an exception instead of `_exit`
    # could be lost in whatever module is being loaded at that moment.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    _loaded()()


def _loaded() -> Callable[[], None]:
    """The program, loaded without what only takes time, a fifth of it: looking for garbage among modules, and `rich`.

    structlog loads that for tracebacks in colour; this program's log is JSON.
    """
    gc.disable()
    sys.modules["rich"] = None  # type: ignore[assignment]  # so that importing it fails
    import structlog  # noqa: F401, PLC0415 (must come after the line above)

    del sys.modules["rich"]
    from headrace_worker.cli import cli  # noqa: PLC0415 (must come after the handlers)

    gc.freeze()
    gc.enable()
    return cli


if __name__ == "__main__":
    main()
