"""`headrace-worker`: hears SIGTERM from its first moment on, then loads the program (`cli`)."""

import os
import signal


def main() -> None:
    """The console script."""
    # As the first process of a container the worker gets no signal that it has no handler for, and loading the program
    # takes about a second. Until `app.run` takes over there is nothing to clean up; an exception instead of `_exit`
    # could be lost in whatever module is being loaded at that moment.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    from headrace_worker.cli import cli  # noqa: PLC0415 (must come after the handlers)

    cli()


if __name__ == "__main__":
    main()
