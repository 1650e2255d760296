"""Revisions of repositories that `engine_kwargs` name, as vLLM and TensorRT-LLM understand them. Pure.

An engine is given a folder, in which a revision means nothing: the store takes them, and engines are not told.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from headrace_api.sources import REVISION
from headrace_worker.store.errors import StoreError
from headrace_worker.store.source import Source

_TAKEN = ("revision", "tokenizer_revision")
_CODE = "code_revision"


def of_model(kwargs: Mapping[str, Any], model: Source) -> Source:
    """The source at the revision that is asked for.

    Raises:
        StoreError: there are no revisions there, or it is no revision.
    """
    return _at(model, _asked(kwargs, "revision"), "revision")


def of_tokenizer(kwargs: Mapping[str, Any], tokenizer: Source | None, model: Source) -> Source | None:
    """The tokenizer's source, where it has to be fetched beside the model; else None.

    Args:
        kwargs: `engine_kwargs`.
        tokenizer: where the section says that it is; None: with the model.
        model: where the model is.

    Raises:
        StoreError: there are no revisions there, or it is no revision.
    """
    asked = _asked(kwargs, "tokenizer_revision")
    if tokenizer is None:
        found = _at(replace(model, quant=None), asked, "tokenizer_revision", of_the_model=True) if asked else model
        return None if found.revision == model.revision else found
    if not asked and tokenizer.place == model.place:
        return replace(tokenizer, revision=tokenizer.revision or model.revision)
    return _at(tokenizer, asked, "tokenizer_revision")


def without(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """`engine_kwargs` without what the store has taken."""
    return {name: value for name, value in kwargs.items() if name.replace("-", "_") not in _TAKEN}


def refuse_code(kwargs: Mapping[str, Any], model: Source, config: Any) -> None:
    """Refuse a `code_revision` for code that came with the model: engines go by it for code elsewhere only.

    Args:
        kwargs: `engine_kwargs`.
        model: where the model is.
        config: its `config.json`.

    Raises:
        StoreError: so it is.
    """
    asked = _asked(kwargs, _CODE)
    code = [one for one in _strings(config.get("auto_map")) if "--" not in one] if isinstance(config, dict) else []
    if asked and asked != (model.revision or "main") and code:
        raise StoreError(
            f"generator.engine_kwargs.{_CODE}: {asked!r} is not accepted, because the model's code ({code[0]}) came "
            f"with its weights, at revision {model.revision or 'main'!r}; choose both with revision"
        )


def _asked(kwargs: Mapping[str, Any], name: str) -> str:
    return next((str(value) for key, value in kwargs.items() if key.replace("-", "_") == name and value), "")


def _at(source: Source, revision: str, name: str, *, of_the_model: bool = False) -> Source:
    if not revision:
        return source
    where = f"generator.engine_kwargs.{name}: {revision!r:.80} is not accepted"
    if source.kind != "hub":
        raise StoreError(f"{where}: {source.place} has no revisions, the Hugging Face Hub has; take it out")
    if not REVISION.fullmatch(revision):
        raise StoreError(f"{where}: it is no branch, tag or commit")
    if source.revision not in {"", revision} and not of_the_model:
        raise StoreError(f"{where}: {source.place}@{source.revision} names another revision; take one out")
    return replace(source, revision=revision)


def _strings(value: Any) -> Iterator[str]:
    """Those of an `auto_map`, whose values are classes, or lists of them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _strings(one)
