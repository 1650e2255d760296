"""What `headrace lint` costs: many manifests, against the least that reading and typing them can cost.

    python tests/bench/lint.py [--manifests 1000] [--repeat 3]

The limit, measured in the same run and in turn, is a process that does nothing but `yaml.safe_load` with libyaml and
pydantic's validation of the same files: no lines, no rules, no report. Figures are CPU seconds of whole processes, so
that the start of Python and the imports count on both sides.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

LIMIT = """
import sys, yaml, pathlib
from headrace_api.inference_model import InferenceModelSpec
for path in pathlib.Path(sys.argv[1]).glob("*.yaml"):
    InferenceModelSpec.model_validate(yaml.load(path.read_text(), yaml.CSafeLoader)["spec"])
"""
ENGINES = ("VLLMEngine", "LlamaCppEngine")


def manifest(number: int) -> dict[str, object]:
    """A model of ordinary size; every tenth has a mistake that a rule finds."""
    return {
        "apiVersion": "headrace.dev/v1alpha1",
        "kind": "InferenceModel",
        "metadata": {"name": f"model-{number}", "namespace": "models", "labels": {"team": f"t{number % 7}"}},
        "spec": {
            "deployment": {
                "autoscaling": {"minReplicas": 0, "initialReplicas": 1, "maxReplicas": 8, "smoothingFactor": 0.6},
                "maxConcurrentQueries": 64,
            },
            "engine": {
                "type": ENGINES[number % 2],
                "modelId": f"org/model-{number}",
                "engineKwargs": {"seed": number} if number % 2 else {"max_num_seqs": 64, "gpu_memory_utilization": 0.9},
                "maxTotalTokens": 4096,
                "pipelineParallelSize": 2 if number % 10 == 0 else 1,
                "s3Mirror": {"bucketUri": f"s3://bucket/models--org--model-{number}/"},
                "generation": {
                    "promptFormat": {
                        "system": "{instruction}\n",
                        "user": "### Instruction:\n{instruction}\n",
                        "assistant": "### Response:\n{instruction}\n",
                        "trailingAssistant": "### Response:\n",
                    },
                    "stoppingSequences": ["### Response:", "### End"],
                },
            },
            "scaling": {"numWorkers": 1, "numGpusPerWorker": 1, "resourcesPerWorker": {"accelerator_type_a10": 0.01}},
            "queue": {"tags": ["a", "b"], "tokenSecretRef": {"name": "worker-token", "key": "token"}},
        },
    }


def cpu_seconds(command: list[str], status: int) -> float:
    """What one process and its children use."""
    before = os.times()
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    after = os.times()
    if result.returncode != status:
        raise RuntimeError(result.stderr)
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    """Measure both in turn and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifests", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.manifests):
            Path(folder, f"model-{number}.yaml").write_text(yaml.safe_dump(manifest(number), sort_keys=False))
        commands = {
            "headrace lint": (1, [str(Path(sys.executable).with_name("headrace")), "lint", folder]),
            "load and validate": (0, [sys.executable, "-c", LIMIT, folder]),
        }
        rows: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(options.repeat):
            for name, (status, command) in commands.items():
                rows[name].append(cpu_seconds(command, status))
    for name, seconds in rows.items():
        each = statistics.median(seconds) / options.manifests * 1000
        print(f"{name:20} {statistics.median(seconds):6.2f} CPU s  {each:6.2f} ms each")  # noqa: T201


if __name__ == "__main__":
    main()
