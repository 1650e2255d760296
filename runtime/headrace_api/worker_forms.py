"""Tells the worker's two forms of configuration apart: edition 1 in one file, and the older env.toml with cap.toml.

A key of the other form is not just unknown: the messages say whose it is and what became of it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from headrace_api.toml_problems import shown

EDITION_1_KEYS: Mapping[str, str] = {"edition": "edition", "generator": "[generator]"}
ENV_KEYS: Mapping[str, str] = {"diagnostics": "diagnostics (now the environment variable LOG_LEVEL)"}
CAP_KEYS: Mapping[str, str] = {
    "checkpoint": "[checkpoint] (now [generator])",
    "checkpoint_name": "checkpoint_name (now in [queue])",
    "gpu_model_name": "gpu_model_name (now dropped)",
}
"""The top-level keys that only one form has, and what they are called in messages."""


def refuse_other_forms_in_edition_1(document: Mapping[str, Any]) -> None:
    """Check what tells edition 1 from everything else.

    Raises:
        ValueError: it is not edition 1; each line of the message is one problem and begins with its key.
    """
    old = {**ENV_KEYS, **CAP_KEYS}
    if found := [key for key in document if key in old]:
        if EDITION_1_KEYS.keys() & document.keys():
            raise ValueError(_mixed(found[0], document))
        raise ValueError(f"{found[0]}: this is a file of the two-file form: start with -e env.toml -c cap.toml")
    edition = document.get("edition")
    if edition is None:
        raise ValueError("edition: missing; accepted: edition = 1")
    if isinstance(edition, bool) or not isinstance(edition, int) or edition != 1:
        raise ValueError(
            f"edition: {shown(edition)} is not accepted; accepted: 1, the only edition that this version knows"
        )
    if problems := list(_replaced(document.get("generator"))):
        raise ValueError("\n".join(problems))


def refuse_other_forms_in_env(document: Mapping[str, Any]) -> None:
    """Check that it is an env.toml.

    Raises:
        ValueError: it has keys of cap.toml or of edition 1.
    """
    _refuse_edition_1(document, {**ENV_KEYS, **CAP_KEYS})
    if found := [key for key in document if key in CAP_KEYS]:
        raise ValueError(f"{found[0]}: a key of cap.toml, in env.toml; env.toml is given with -e, cap.toml with -c")
    queue = document.get("queue")
    if isinstance(queue, Mapping) and "checkpoint_name" in queue:
        raise ValueError("queue.checkpoint_name: a key of edition 1; in the two-file form it is at the top of cap.toml")


def refuse_other_forms_in_cap(document: Mapping[str, Any]) -> None:
    """Check that it is a cap.toml.

    Raises:
        ValueError: it has keys of env.toml or of edition 1.
    """
    _refuse_edition_1(document, {**ENV_KEYS, **CAP_KEYS})
    if found := [key for key in document if key in {*ENV_KEYS, "queue", "monitoring"}]:
        raise ValueError(f"{found[0]}: a key of env.toml, in cap.toml; env.toml is given with -e, cap.toml with -c")


def _refuse_edition_1(document: Mapping[str, Any], old: Mapping[str, str]) -> None:
    if found := [key for key in document if key in EDITION_1_KEYS]:
        if old.keys() & document.keys():
            raise ValueError(_mixed(found[0], document))
        raise ValueError(f"{found[0]}: this is a file of edition 1: start with --config worker_config.toml")


def _mixed(key: str, document: Mapping[str, Any]) -> str:
    new = [text for name, text in EDITION_1_KEYS.items() if name in document]
    parts = [f"of edition 1 (--config): {', '.join(new)}"]
    for file, keys in (("env.toml (-e)", ENV_KEYS), ("cap.toml (-c)", CAP_KEYS)):
        if found := [text for name, text in keys.items() if name in document]:
            parts.append(f"of {file}: {', '.join(found)}")
    return f"{key}: two forms are mixed in one file; {'; '.join(parts)}; accepted: the keys of one form"


def _replaced(generator: Any) -> Iterator[str]:
    if not isinstance(generator, Mapping):
        return
    directory = generator.get("directory", "/path/to/checkpoint")
    if "directory" in generator:
        yield f"generator.directory: a key of [checkpoint]; accepted: weight_set_directories = [{shown(directory)}]"
    if "tokenizer_filename" in generator:
        path = f"{directory}/{generator['tokenizer_filename']}"
        yield f"generator.tokenizer_filename: a key of [checkpoint]; accepted: tokenizer_path = {shown(path)}"
