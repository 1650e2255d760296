"""`headrace`: what people run on their own machine or in a pipeline."""

import importlib
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from headrace_cli.errors import TROUBLE, Trouble

COMMANDS = {
    "import": ("import_", "Turn files of other systems into InferenceModels."),
    "export": ("export", "Give an InferenceModel back in the form of another system."),
    "lint": ("lint", "Check models, and files that can be imported."),
    "render": ("render", "Print what the operator would create; needs no cluster."),
    "explain": ("explain", "Say of every rendered key which layer set it."),
    "simulate": ("simulate", "Replay a trace of requests against a model's autoscaling."),
    "diff": ("diff", "Show what applying would change; writes nothing."),
    "crd": ("crd", "Print the CustomResourceDefinition."),
    "status": ("status", "Say how models are, and why."),
    "logs": ("logs", "Show the logs of all workers of a model."),
    "keys": ("keys", "Make, list, revoke and rotate the keys of a queue's clients."),
    "usage": ("usage", "Show what requests have used, by day, key and model."),
    "top": ("top", "Show which models, or workers of one, have how much to do."),
}
"""The module of each command, and its line in the help: a command's module is imported when it is run."""


class _Lazy(TyperGroup):
    """Imports the module of the command that is run, and no other: pydantic alone takes 0.3 s."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, _load(name) if name else command, rest


def _load(name: str) -> Any:
    module, summary = COMMANDS[name]
    loaded = importlib.import_module(f"headrace_cli.{module}")
    subcommands: dict[str, Any] = getattr(loaded, "SUBCOMMANDS", {})
    only = _typer(add_completion=False, no_args_is_help=bool(subcommands))
    if subcommands:
        only.callback(help=summary)(loaded.command)
        for each, function in subcommands.items():
            only.command(each)(function)
    else:
        only.command(name, help=summary)(loaded.command)
    return typer.main.get_command(only)


def _typer(**options: Any) -> typer.Typer:
    # typer's help through rich takes 0.3 s, plain help 0.01 s
    return typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, **options)


def _version(wanted: bool) -> None:
    if wanted:
        metadata = importlib.import_module("importlib.metadata")
        typer.echo(f"headrace {metadata.version('headrace')}")
        raise typer.Exit


def _options(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Options of `headrace` itself."""


def _app() -> typer.Typer:
    app = _typer(cls=_Lazy, no_args_is_help=True, help=__doc__)
    app.callback(help="Import, check, explain, compare and simulate InferenceModels.")(_options)
    for name, (_, summary) in COMMANDS.items():
        app.command(name, help=summary)(_stub)
    return app


def _stub() -> None:
    """Stands for a command in the list of commands; `_Lazy` puts the real one in its place."""


def _program(path: str) -> str:
    """The name that people call it by: as kubectl's plugin it is a word of kubectl's."""
    name = os.path.basename(path)  # noqa: PTH119 - pathlib alone takes longer than all the rest of the start
    return "kubectl headrace" if name == "kubectl-headrace" else "headrace"


def main() -> None:
    """Entry point of the console script."""
    try:
        _app()(prog_name=_program(sys.argv[0]))
    except Trouble as error:
        typer.echo(str(error), err=True)
        sys.exit(error.status)
    except OSError as error:  # a full disk behind a pipe, say: files that cannot be read are a Trouble
        typer.echo(f"headrace: cannot write: {error.strerror}", err=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter tries once more at its end, and complains
        sys.exit(TROUBLE)


if __name__ == "__main__":
    main()
