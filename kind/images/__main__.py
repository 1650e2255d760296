"""`python3 kind/images [NAME ...]`: build images by hand and print where their archives are."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import images
from toolbox import steps

_EMBEDDED = ["operator", "queue", "runtime-llamacpp", "pause"]
"""What a cluster without Docker runs."""


def main() -> int:
    """Build the images named on the command line, or those of the embedded cluster."""
    try:
        archives = images.ensure(sys.argv[1:] or _EMBEDDED)
    except steps.StepError as error:
        print(error, file=sys.stderr)
        return 1
    for name, archive in archives.items():
        print(f"{name}\t{archive}")
    return 0


sys.exit(main())
