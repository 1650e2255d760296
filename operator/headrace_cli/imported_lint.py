"""What `headrace lint` says about files that can be imported: their own mistakes, and the rules on the spec."""

from collections.abc import Iterator

from headrace_api.rules.document import check_model
from headrace_api.rules.finding import Finding
from headrace_api.two_file import EnvFile
from headrace_cli.facts import Knowledge
from headrace_cli.forms import ray_configs, toml_form
from headrace_cli.interpret import Model, Refused, Said, pair_model, ray_model, toml, worker_model
from headrace_cli.report import Located
from headrace_cli.sources import Source
from headrace_cli.yaml_text import Document, Malformed

UNREADABLE, NOT_ACCEPTED = "HR090", "HR091"
"""Codes of what is wrong before there is a manifest: the text as such; a key of a file of another system."""


def is_toml(source: Source) -> bool:
    """Whether a file is for a worker; what is none of the forms is told by `toml_lint`."""
    try:
        return toml_form(source) is not None
    except Malformed:
        return True


def is_env(source: Source) -> bool:
    """Whether a file is an env.toml."""
    try:
        return toml_form(source) == "env"
    except Malformed:
        return False


def toml_lint(source: Source, env: Source | None, knowledge: Knowledge) -> Iterator[Located]:
    """Check an env.toml, a cap.toml in the surroundings of `env`, or a worker_config.toml."""
    try:
        match toml_form(source):
            case "env":
                toml(source, EnvFile)
            case "cap":
                yield from _rules(_pair(env, source), knowledge)
            case _:
                yield from _rules(worker_model(source), knowledge)
    except Refused as error:
        yield from (_refusal(said) for said in error.said)
    except Malformed as error:
        yield unreadable(error)


def _pair(env: Source | None, cap: Source) -> Model:
    """The model of both files; the mistakes of an env.toml are told with that file."""
    if env is not None:
        try:
            return pair_model(env, cap)
        except Refused as error:
            if any(file == cap.file for file, _, _ in error.said):
                raise
    return pair_model(None, cap)


def ray_lint(document: Document, knowledge: Knowledge) -> Iterator[Located]:
    """Check a document for Ray.

    Raises:
        Malformed: it is none.
    """
    for config in ray_configs(document):
        try:
            yield from _rules(ray_model(config), knowledge)
        except Refused as error:
            yield from (_refusal(said) for said in error.said)


def unreadable(error: Malformed) -> Located:
    """A text that is no document at all."""
    return Located(error.file, error.line, Finding(UNREADABLE, "error", (), error.message, ""))


def _refusal(said: Said) -> Located:
    file, line, message = said
    key, _, rest = message.partition(": ")
    if " " in key:
        return Located(file, line, Finding(NOT_ACCEPTED, "error", (), message, ""))
    return Located(file, line, Finding(NOT_ACCEPTED, "error", (key,), rest, ""))


def _rules(model: Model, knowledge: Knowledge) -> Iterator[Located]:
    """The findings in the imported spec, at the line of the file's own key."""
    manifest = model.manifest("imported")
    for finding in check_model(manifest, knowledge.facts(manifest)):
        yield Located(*model.place_of(finding.path), finding)
