"""`headrace-operator`: reads the settings, sets up logging, runs."""

import asyncio
import logging
import sys

import structlog

from headrace_operator import app, settings


def main() -> None:
    """Run the operator; exit 2 when a setting is wrong."""
    try:
        options = settings.read(sys.argv[1:])
    except settings.SettingsError as error:
        print(f"headrace-operator: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    level = logging.getLevelNamesMapping()[options.log_level]
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
    )
    asyncio.run(app.run(options))


if __name__ == "__main__":
    main()
