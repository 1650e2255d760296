"""Which images there are and how a container of each starts; the Containerfiles say the same for Docker and Podman."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from toolbox import steps

USER_ID = 10001
"""User and group of every headrace process (also in the chart and the Containerfiles)."""

HOME = "/opt/headrace"
"""Where an image holds the programs (`venv`) and, for workers, the sample model (`models`); read-only."""

MODEL = "runtime/sample_model/sample-chat"
"""The sample model's folder in a checkout."""


@dataclass(frozen=True)
class Image:
    """One image.

    Attributes:
        name: short name; the reference is `docker.io/headrace/NAME:KEY`.
        title: what a person reads in the image's labels.
        program: the console script that a container starts; empty for pause.
        extras: the extras of pyproject.toml that are installed.
        containerfile: path in the checkout; empty if Docker and Podman have no use for the image.
        target: the stage of the Containerfile; empty for the last one.
        vendor: whether it stands on an engine vendor's base image, which only a registry has.
    """

    name: str
    title: str
    program: str = ""
    extras: tuple[str, ...] = ()
    containerfile: str = ""
    target: str = ""
    vendor: bool = False

    def reference(self, key: str) -> str:
        """The name that pods ask for; with the registry's host, or the kubelet does not find it.

        Args:
            key: what the image is made from, as a key; it is the tag, so that a changed image is a new name that rolls
                pods. The sandbox image has a fixed name, which containerd's configuration holds.
        """
        return f"docker.io/headrace/{self.name}:{key if self.program else 'dev'}"

    @property
    def packages(self) -> tuple[str, ...]:
        """The Python packages of headrace that its program uses."""
        return ("headrace_api", self.program.replace("-", "_")) if self.program else ()

    @property
    def core(self) -> str:
        """Of which program modules are compiled; empty for none."""
        return {"headrace-queue": "queue", "headrace-worker": "worker"}.get(self.program, "")

    @property
    def worker(self) -> bool:
        """Whether a container of it runs a model, so that the sample model belongs in it."""
        return self.program == "headrace-worker"


def _runtime(engine: str, title: str, *, extras: tuple[str, ...] = ("worker",), vendor: bool = True) -> Image:
    return Image(
        name=f"runtime-{engine}",
        title=f"Headrace worker with {title}",
        program="headrace-worker",
        extras=extras,
        containerfile="runtime/Containerfile.worker",
        target=engine,
        vendor=vendor,
    )


_ALL = (
    Image("operator", "Headrace operator", "headrace-operator", ("operator",), "operator/Containerfile"),
    Image("queue", "Headrace queue", "headrace-queue", ("queue",), "runtime/Containerfile.queue"),
    _runtime("llamacpp", "llama.cpp", extras=("worker", "llamacpp"), vendor=False),
    _runtime("embeddings", "sentence-transformers", extras=("worker", "embeddings"), vendor=False),
    _runtime("vllm", "vLLM"),
    _runtime("vllm-cpu", "vLLM on CPU"),
    _runtime("tensorrt-llm", "TensorRT-LLM"),
    Image("pause", "Headrace pod sandbox"),
)
IMAGES = {image.name: image for image in _ALL}
"""Every image by its short name."""


def choose(names: Sequence[str]) -> list[Image]:
    """The images with these short names, each once.

    Raises:
        StepError: a name is not known; the message lists the ones that are.
    """
    if unknown := sorted(set(names) - set(IMAGES)):
        raise steps.StepError(f"image {', '.join(unknown)}: not known; accepted are {', '.join(IMAGES)}")
    return [IMAGES[name] for name in dict.fromkeys(names)]


def config_arguments(image: Image) -> list[str]:
    """What `buildah config` is told about `image`: user, entry point, environment, stop signal and labels.

    HOME is /tmp because the root file system is read-only and every pod mounts a volume there; models that are
    downloaded go to /var/lib/headrace, which a pod that downloads any has to mount.
    """
    if not image.program:
        return ["--user", "65535:65535", "--entrypoint", json.dumps(["/pause"]), *_labels(image)]
    environment = {
        "PATH": f"{HOME}/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/tmp",  # noqa: S108 - a volume of the pod's own, not a file name that others could guess
        "USER": "headrace",
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    if image.worker:
        environment["HF_HOME"] = "/var/lib/headrace/huggingface"
        environment["XDG_CACHE_HOME"] = "/var/lib/headrace/cache"
    settings = ["--user", f"{USER_ID}:{USER_ID}", "--workingdir", "/", "--stop-signal", "SIGTERM"]
    settings += ["--entrypoint", json.dumps([f"{HOME}/venv/bin/{image.program}"])]
    for name, value in environment.items():
        settings += ["--env", f"{name}={value}"]
    return settings + _labels(image)


def _labels(image: Image) -> list[str]:
    prefix = "org.opencontainers.image"
    return ["--label", f"{prefix}.title={image.title}", "--label", f"{prefix}.licenses=Apache-2.0"]
