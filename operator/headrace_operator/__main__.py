"""`headrace-operator`: reads the settings, sets up logging, runs."""

import asyncio
import sys

from headrace_operator import app, logs, settings


def main() -> None:
    """Run the operator; exit 2 when a setting is wrong."""
    try:
        options = settings.read(sys.argv[1:])
    except settings.SettingsError as error:
        print(f"headrace-operator: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    logs.configure(options.log_level)
    asyncio.run(app.run(options))


if __name__ == "__main__":
    main()
