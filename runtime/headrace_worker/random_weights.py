"""`unstable.skip_checkpoint_load`: an engine that makes up its weights needs only what describes the model."""

from headrace_api.worker_config import Generator

_WEIGHTS = (
    "*.safetensors",
    "*.safetensors.index.json",
    "*.bin",
    "*.bin.index.json",
    "*.pt",
    "*.pth",
    "*.ckpt",
    "*.gguf",
)
_OTHERS = ("*.msgpack", "*.h5", "*.onnx", "*.onnx_data", "*.ot", "*.tflite", "original/*", "onnx/*")


def not_fetched(generator: Generator) -> tuple[str, ...]:
    """Patterns of the files of the base model's source that are not to be fetched; none for real weights."""
    return (*_WEIGHTS, *_OTHERS) if generator.unstable.skip_checkpoint_load else ()
