"""InferenceModels in YAML text, beside whatever else is there, and what the rules find in them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from headrace_api import inference_model as api
from headrace_api.inference_model import InferenceModelSpec
from headrace_api.rules.document import check_model, read_model
from headrace_api.rules.finding import Facts, Finding, Path
from headrace_cli.errors import FAILED, Trouble
from headrace_cli.report import Located, text_line
from headrace_cli.sources import Source
from headrace_cli.yaml_text import Document, Malformed, read

Object = dict[str, Any]


@dataclass(frozen=True)
class Manifest:
    """One InferenceModel as it was written."""

    document: Document
    data: Object
    within: Path = ()
    """Where in the document it is: items of a `kind: List`."""

    @property
    def file(self) -> str:
        """The file that it is in."""
        return self.document.file

    @property
    def metadata(self) -> Object:
        """Its metadata; the map of a manifest without errors has a name."""
        found = self.data.get("metadata")
        return found if isinstance(found, dict) else {}

    def findings(self, facts: Facts | None = None) -> list[Located]:
        """What the rules find, with lines."""
        return self.located(check_model(self.data, facts))

    def located(self, findings: Iterable[Finding]) -> list[Located]:
        """Findings with their lines."""
        return [Located(self.file, self.document.line((*self.within, *one.path)), one) for one in findings]


def manifests(document: Document) -> list[Manifest] | None:
    """The InferenceModels of a document; None when it is no Kubernetes object at all.

    Raises:
        Malformed: an InferenceModel of an API version that this program does not know.
    """
    if not isinstance(document.data, dict) or not {"apiVersion", "kind"} <= document.data.keys():
        return None
    return list(_models(document, document.data, ()))


def _models(document: Document, item: Any, within: Path) -> Iterator[Manifest]:
    if not isinstance(item, dict):
        return
    version, kind = str(item.get("apiVersion")), item.get("kind")
    if kind == "List" and isinstance(item.get("items"), list):
        for at, one in enumerate(item["items"]):
            yield from _models(document, one, (*within, "items", at))
    elif kind == api.KIND and version == api.API_VERSION:
        yield Manifest(document, item, within)
    elif version.partition("/")[0] == api.GROUP:
        line = document.line((*within, "kind" if version == api.API_VERSION else "apiVersion"))
        message = f"{version} {kind} is not known; accepted: {api.API_VERSION} {api.KIND}"
        raise Malformed(document.file, line, message)


def models(source: Source) -> list[Manifest]:
    """Every InferenceModel of a file that has at least one.

    Raises:
        Trouble: the text is not YAML, or has no InferenceModel.
    """
    try:
        documents = read(source.text, source.file)
        found = [manifest for document in documents for manifest in manifests(document) or ()]
    except Malformed as error:
        raise Trouble(str(error), FAILED) from None
    if not found:
        raise Trouble(f"{source.file}: no {api.API_VERSION} {api.KIND} in it{_instead(documents)}", FAILED)
    return found


def _instead(documents: list[Document]) -> str:
    """What is in a file without a model."""
    if not documents:
        return ": it is empty"
    data = documents[0].data
    if not isinstance(data, dict):
        return f": it begins with {type(data).__name__}, not with a map"
    if "kind" in data:
        return f": it begins with {data.get('apiVersion')} {data['kind']}"
    return f": it begins with the keys {', '.join(list(data)[:5])}; files of other systems are read by headrace import"


def valid_spec(manifest: Manifest, facts: Facts | None = None) -> InferenceModelSpec:
    """The spec of a manifest in which the rules find no error.

    Raises:
        Trouble: they find one; the message has every error in a line.
    """
    seen = read_model(manifest.data, facts)
    if seen.spec is None or seen.errors:
        raise Trouble("\n".join(_lines(manifest, seen.errors)), FAILED)
    return seen.spec


def readable_spec(manifest: Manifest) -> tuple[InferenceModelSpec, list[str]]:
    """The spec of a manifest of the right shape, and a line for each error that the rules find in it.

    Raises:
        Trouble: the shape is wrong; the message has every error in a line.
    """
    seen = read_model(manifest.data)
    errors = _lines(manifest, seen.errors)
    if seen.readable is None:
        raise Trouble("\n".join(errors), FAILED)
    return seen.readable, errors


def _lines(manifest: Manifest, errors: Iterable[Finding]) -> list[str]:
    return [text_line(found) for found in manifest.located(errors)]
