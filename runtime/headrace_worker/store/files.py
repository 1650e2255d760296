"""Which files of a source are fetched. Pure: names, sizes and tags in, a choice out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from headrace_api.s3_sync import SyncArguments
from headrace_worker.engines import gguf as gguf_files
from headrace_worker.store.errors import StoreError

HASH_FILE = "hash"
"""The file of a mirror that says which snapshot it is."""
_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf", "*.pt", "*.pth", "*.h5", "*.msgpack", "*.ot", "*.onnx", "*.engine")
_OTHER_FORMATS = ("*.bin", "*.pt", "*.pth", "*.h5", "*.msgpack", "*.ot", "*.onnx", "*.onnx_data", "*.tflite", "*.gguf")
"""The same weights again, for other libraries, in a repository that has them as safetensors."""
_OTHER_FOLDERS = ("original/*", "onnx/*", "openvino/*", "coreml/*", "tf_model/*", "flax_model/*")
_ONNX = ("*.onnx", "*.onnx_data", "onnx/*")


@dataclass(frozen=True)
class RemoteFile:
    """One file at its source."""

    name: str
    """Relative to the source's folder, with slashes."""
    size: int
    """Bytes."""
    etag: str = ""
    """What changes when the content changes: an ETag, or the hub's id of the blob."""
    key: str = ""
    """The object's whole key in its bucket."""
    checksum: str = ""
    """`<algorithm>:<digest in hexadecimal>` of the content, where the source tells one beside the ETag; `none` where it
    tells that the ETag is no hash of the content."""


def of_mirror(
    found: Iterable[RemoteFile], arguments: SyncArguments, quant: str | None, *, weights: bool = True
) -> list[RemoteFile]:
    """The files to fetch from a folder of a bucket, in the order of their names.

    Args:
        found: everything in the folder.
        arguments: whose filters decide.
        quant: the quantisation whose GGUF files are wanted.
        weights: whether weights are wanted at all; without them, configuration and tokenizer remain.

    Raises:
        StoreError: a name would be outside the folder, or two files cannot be in one folder.
    """
    wanted = [file for file in _without_markers(list(found)) if file.name != HASH_FILE]
    wanted = [file for file in wanted if arguments.includes(file.name)]
    _refuse_unsafe(wanted)
    return _sorted(_by_quant(_without(wanted, () if weights else _WEIGHTS), quant))


def of_hub(
    found: Iterable[RemoteFile], quant: str | None, *, gguf: bool = False, onnx: bool = False, weights: bool = True
) -> list[RemoteFile]:
    """The files to fetch from a repository of the hub: one format of the weights, and everything small.

    Args:
        found: everything in the repository.
        quant: the quantisation whose GGUF files are wanted.
        gguf: whether the engine loads GGUF: then only a GGUF file, which has to be clear without `quant`.
        onnx: whether the engine loads ONNX.
        weights: whether weights are wanted at all.

    Raises:
        StoreError: there is no such file, or a name would be outside the folder.
    """
    files = list(found)
    _refuse_unsafe(files)
    if weights and (quant or gguf):
        return _sorted(_by_quant(files, quant, gguf=gguf))
    if not weights:
        return _sorted(_without(files, _WEIGHTS))
    if any(fnmatchcase(file.name, "*.safetensors") and "/" not in file.name for file in files):
        kept = {file.name for file in files if onnx and _matches(file.name, _ONNX)}
        files = [file for file in files if file.name in kept or not _matches(file.name, _OTHER_FORMATS)]
        files = [file for file in files if file.name in kept or not _matches(file.name, _OTHER_FOLDERS)]
    return _sorted(files)


def _by_quant(files: list[RemoteFile], quant: str | None, *, gguf: bool = False) -> list[RemoteFile]:
    if not quant and not gguf:
        return files
    try:
        names = set(gguf_files.choose_files((file.name for file in files), quant))
    except gguf_files.GgufError as error:
        raise StoreError(str(error)) from error
    return [file for file in files if file.name in names]


def _without_markers(files: list[RemoteFile]) -> list[RemoteFile]:
    """Without the empty objects that consoles and file systems make for folders (`folder/`), as `aws s3 sync` does.

    The library that lists takes the slash off; one of a folder without files is an empty file then, which does no harm.
    """
    folders = {str(parent) for file in files for parent in PurePosixPath(file.name).parents}
    return [file for file in files if file.size or file.name not in folders]


def _without(files: list[RemoteFile], patterns: Sequence[str]) -> list[RemoteFile]:
    return [file for file in files if not _matches(file.name, patterns)]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _sorted(files: list[RemoteFile]) -> list[RemoteFile]:
    return sorted(files, key=lambda file: file.name)


def _refuse_unsafe(files: Iterable[RemoteFile]) -> None:
    names = {file.name for file in files}
    for name in names:
        parts = name.split("/")
        if name.startswith("/") or any(part in {"", ".", ".."} for part in parts) or "\0" in name:
            raise StoreError(f"the source has a file {name!r}, which cannot be in a folder; take it out there")
        if any(str(parent) in names for parent in PurePosixPath(name).parents):
            raise StoreError(f"the source has a file {name!r} and one that is named as its folder; take one out there")
