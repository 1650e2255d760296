"""Finds the line of a TOML text on which a key is written, for error messages: a TOML parser tells only values."""

import re

_KEY = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_DOTTED = rf"{_KEY}(?:[ \t]*\.[ \t]*{_KEY})*"
_HEADER = re.compile(rf"[ \t]*\[{{1,2}}[ \t]*({_DOTTED})[ \t]*\]{{1,2}}[ \t]*(?:#.*)?\r?$")
_PAIR = re.compile(rf"[ \t]*({_DOTTED})[ \t]*=[ \t]*(.*)")
_LONG_QUOTES = ('"""', "'''")


def line_of(text: str, key: tuple[str | int, ...]) -> int | None:
    """The line, from 1, on which `key` or else the deepest part of it that is found is written; None for no part."""
    wanted = tuple(part for part in key if isinstance(part, str))
    section: tuple[str, ...] = ()
    inside: str | None = None
    depth, found = 0, None
    for number, line in enumerate(text.split("\n"), start=1):
        if inside:
            inside = None if inside in line else inside
            continue
        if header := _HEADER.match(line):
            here = section = _parts(header[1])
        elif pair := _PAIR.match(line):
            here = section + _parts(pair[1])
            inside = _left_open(pair[2])
        else:
            continue
        shared = min(len(here), len(wanted))
        if depth < shared and here[:shared] == wanted[:shared]:
            depth, found = shared, number
    return found


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(key[1:-1] if key[0] in "\"'" else key for key in re.findall(_KEY, dotted))


def _left_open(value: str) -> str | None:
    """The quotes of a text that goes on in the next line."""
    return next((quotes for quotes in _LONG_QUOTES if value.startswith(quotes) and quotes not in value[3:]), None)
