"""`headrace lint`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from headrace_api.rules.finding import Facts
from headrace_cli import imported_lint
from headrace_cli.errors import FAILED, TROUBLE, Trouble
from headrace_cli.facts import Knowledge
from headrace_cli.manifests import manifests
from headrace_cli.report import Format, Located, github_line, json_text, text_line
from headrace_cli.sources import Source, sources
from headrace_cli.terminal import say
from headrace_cli.values import ValuesFile
from headrace_cli.yaml_text import Malformed, read

Files = Annotated[
    list[Path],
    typer.Argument(help="Manifests, files that can be imported, directories with them; - for standard input."),
]


def command(  # noqa: PLR0913, PLR0917 - each is an option
    files: Files,
    format: Annotated[Format, typer.Option(help="text; annotations of a GitHub workflow; or JSON.")] = "text",  # noqa: A002
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail, too.")] = False,
    model_config: Annotated[
        Path | None, typer.Option(help="The models' Hugging Face config.json, for checks of heads and memory.")
    ] = None,
    gpu_memory: Annotated[float | None, typer.Option(min=0, help="Memory of one GPU, in GiB.")] = None,
    gpus_per_node: Annotated[int | None, typer.Option(min=0, help="GPUs of each node.")] = None,
    values: ValuesFile = None,
) -> None:
    """Check models, and files that can be imported.

    Exit status: 0 without errors, 1 with errors (with --strict: or warnings), 2 when a file cannot be read.
    """
    knowledge = Knowledge.of(model_config, gpu_memory, gpus_per_node, values)
    run = _Run(knowledge)
    findings = list(run.check(files))
    _print(findings, format)
    severities = [found.finding.severity for found in findings]
    errors, warnings = severities.count("error"), severities.count("warning")
    typer.echo(f"checked {run.models}: {errors} errors, {warnings} warnings", err=True)
    if run.troubles or not run.models + errors:
        nothing = [] if run.troubles else ["no InferenceModel, and nothing that can be imported, in these files"]
        raise Trouble("\n".join([*run.troubles, *nothing]), TROUBLE)
    if errors or (strict and warnings):
        raise typer.Exit(FAILED)


class _Run:
    """One run over all files: what it met beside findings."""

    def __init__(self, knowledge: Knowledge) -> None:
        self._knowledge = knowledge
        self.models = 0
        self.troubles: list[str] = []

    def check(self, paths: Sequence[Path]) -> Iterator[Located]:
        """Findings of every file, in order; a file that cannot be read does not stop the run."""
        found = list(self._sources(paths))
        envs = [source for source in found if imported_lint.is_env(source)]
        # with several it is not known which cap.toml belongs to which
        env = envs[0] if len(envs) == 1 else None
        for source in found:
            yield from self._file(source, env)

    def _sources(self, paths: Sequence[Path]) -> Iterator[Source]:
        for path in paths:
            try:
                yield from sources([path])
            except Trouble as error:
                self.troubles.append(str(error))

    def _file(self, source: Source, env: Source | None) -> Iterator[Located]:
        if imported_lint.is_toml(source):
            self.models += 1
            yield from imported_lint.toml_lint(source, env, self._knowledge)
            return
        try:
            documents = read(source.text, source.file)
            for document in documents:
                found = manifests(document)
                if found is None:
                    self.models += 1
                    yield from imported_lint.ray_lint(document, self._knowledge)
                for manifest in found or ():
                    self.models += 1
                    yield from manifest.findings(self._facts(manifest.data))
        except Malformed as error:
            yield imported_lint.unreadable(error)

    def _facts(self, model: object) -> Facts:
        return self._knowledge.facts(model)


def _print(findings: Sequence[Located], format: Format) -> None:  # noqa: A002
    if format == "json":
        typer.echo(json_text(findings))
        return
    for found in findings:
        if format == "github":
            typer.echo(github_line(found))
        else:
            say(text_line(found), found.finding.severity)
