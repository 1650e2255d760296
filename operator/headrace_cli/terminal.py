"""Output: coloured on a terminal, plain in a pipe. rich is imported on a terminal only."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}

_COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "bright_cyan", "bright_yellow", "bright_green")


def is_terminal() -> bool:
    """Whether people, not programs, read the standard output."""
    return sys.stdout.isatty()


def say(line: str, kind: str) -> None:
    """A line `PLACE: what`; on a terminal the place is bold and the rest has the colour of its kind."""
    if not is_terminal():
        typer.echo(line)
        return
    from rich.text import Text  # noqa: PLC0415 - 0.1 s that a pipe does not need

    place, colon, rest = line.partition(": ")
    _console().print(Text.assemble((place + colon, "bold"), (rest, STYLES[kind])), soft_wrap=True)


def show(text: str, language: str) -> None:
    """A whole text in YAML, TOML, JSON or as a diff."""
    if not is_terminal():
        typer.echo(text, nl=False)
        return
    from rich.syntax import Syntax  # noqa: PLC0415

    _console().print(Syntax(text, language, background_color="default", word_wrap=True))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows under a title; in a pipe the columns are separated by tabs, and there is no heading."""
    if not is_terminal():
        for row in rows:
            typer.echo("\t".join((title, *row)))
        return
    from rich.table import Table  # noqa: PLC0415

    shown = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*(_plain(cell) for cell in row))
    _console().print(shown)


def listing(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows under headings; in a pipe the columns are separated by tabs, and there are no headings."""
    if not is_terminal():
        for row in rows:
            typer.echo("\t".join(row))
        return
    from rich.table import Table  # noqa: PLC0415

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*(_plain(cell) for cell in row))
    _console().print(shown)


def heading(text: str) -> None:
    """A line above what belongs to it; bold on a terminal."""
    typer.echo(typer.style(text, bold=True) if is_terminal() else text)


def prefixed(prefix: str, line: str, number: int) -> None:
    """A line of one source of several; on a terminal each source's `number` gives its prefix a colour."""
    colour = _COLOURS[number % len(_COLOURS)]
    typer.echo(f"{typer.style(prefix, fg=colour) if is_terminal() else prefix} {line}")


def _plain(text: str) -> str:
    from rich.markup import escape  # noqa: PLC0415

    return escape(text)


def _console() -> "Console":
    from rich.console import Console  # noqa: PLC0415

    return Console(highlight=False)
