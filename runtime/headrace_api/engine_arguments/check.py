"""What is wrong with a configuration's engine arguments: one function for the rules and for the worker."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from headrace_api.engine_arguments import table, tables_of
from headrace_api.engine_arguments.argument import Argument, Table, expected
from headrace_api.engine_arguments.knowledge import KNOWLEDGE, Knowledge
from headrace_api.suggest import did_you_mean

UNKNOWN, OLDER, VALUE, BOUNDS, OWN, TWICE, RIVAL = (f"HR30{number}" for number in range(1, 8))


class Problem(NamedTuple):
    """One argument that the engine or Headrace would refuse."""

    code: str
    key: str
    """As the configuration has it."""
    fault: str
    hint: str
    near: tuple[str, Collection[str]] = ("", ())
    """A word and those that may have been meant: compared only for who reads the message, as that takes long."""

    @property
    def message(self) -> str:
        """What is wrong, with the value, and what was probably meant."""
        word, accepted = self.near
        return self.fault + (f" (did you mean {word}?)" if word in accepted else did_you_mean(word, accepted))


def problems(engine: str, kwargs: Mapping[str, Any], given: Mapping[str, Any]) -> list[Problem]:
    """Every problem of the arguments, in their order.

    `given` holds those other settings that say the same as an argument, by the names in `Knowledge.rivals`; what is not
    set is absent or false. With two engines (`luminous`) an argument is wrong when neither of the two takes it.
    """
    found = [list(_of_one(name, kwargs, given)) for name in tables_of(engine)]
    if len(found) <= 1:
        return found[0] if found else []
    told = {problem.key: problem for one in found for problem in one}
    told |= {problem.key: problem for one in found for problem in one if problem.code not in {UNKNOWN, OLDER}}
    by_both = set.intersection(*({problem.key for problem in one} for one in found))
    return [told[key] for key in kwargs if key in by_both]


def _of_one(name: str, kwargs: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[Problem]:
    arguments, knowledge = table(name), KNOWLEDGE[name]
    seen: dict[str, str] = {}
    for key, value in kwargs.items():
        canonical = arguments.canonical(key)
        if canonical in seen:
            message, hint = f"is the same argument as {seen[canonical]}", f"give one of the two, as {canonical}"
            yield Problem(TWICE, key, message, hint)
        seen[canonical] = key
        if problem := _problem(arguments, knowledge, (key, canonical, value), given):
            yield problem


def _problem(
    arguments: Table, knowledge: Knowledge, entry: tuple[str, str, Any], given: Mapping[str, Any]
) -> Problem | None:
    key, canonical, value = entry
    name, _, rest = canonical.partition(".")
    plain = name.replace("-", "_")
    argument = arguments.arguments.get(name)
    if plain in knowledge.own or plain in knowledge.secrets:
        return _not_yours(knowledge, key, plain, value)
    if argument is None and plain in knowledge.older:
        return Problem(OLDER, key, f"unknown to {_title(arguments)}", knowledge.older[plain])
    if argument is None or (rest and not (arguments.command_line and argument.kind.startswith("object"))):
        hint, near = _instead(arguments, name), _near(arguments, name)
        return Problem(UNKNOWN, key, f"unknown to {_title(arguments)}", hint, near)
    if rest:
        return _subkey(argument, key, rest.partition(".")[0])
    if rival := _rival(knowledge, name, given):
        return Problem(RIVAL, key, f"{value!r} is not accepted beside {rival}, which sets it", "give one of the two")
    return _value(arguments, knowledge, (key, name, value), argument)


def _not_yours(knowledge: Knowledge, key: str, plain: str, value: Any) -> Problem:
    if plain in knowledge.secrets:
        return Problem(OWN, key, "is not accepted: others would read it in the configuration", knowledge.secrets[plain])
    return Problem(OWN, key, f"{value!r} is not accepted, because Headrace sets it itself", knowledge.own[plain])


def _value(arguments: Table, knowledge: Knowledge, entry: tuple[str, str, Any], argument: Argument) -> Problem | None:
    key, name, value = entry
    if hint := knowledge.older_values.get((name, str(value))):
        return Problem(OLDER, key, f"{value!r} is unknown to {_title(arguments)}", hint)
    if accepted := expected(argument, value, text=arguments.command_line):
        return Problem(VALUE, key, f"{value!r} is not accepted", f"accepted: {accepted}")
    bounds, number = knowledge.bounds.get(name), _number(value)
    if bounds and number is not None and not bounds.hold(number):
        return Problem(BOUNDS, key, f"{value!r} is not accepted", f"accepted: {bounds.words}")
    for inner in value if isinstance(value, dict) else ():
        if problem := _subkey(argument, key, str(inner)):
            return problem
    return None


def _subkey(argument: Argument, key: str, inner: str) -> Problem | None:
    if not argument.keys or inner.rstrip("+") in argument.keys:
        return None
    return Problem(UNKNOWN, key, f"has no {inner}", f"accepted: {', '.join(argument.keys)}", (inner, argument.keys))


def _rival(knowledge: Knowledge, name: str, given: Mapping[str, Any]) -> str:
    setting, field = knowledge.rivals.get(name, ("", ""))
    return f"{field} (worker file: {setting})" if given.get(setting) else ""


def _number(value: Any) -> float | None:
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):  # text, a size with a unit, a map
        return None


def _near(arguments: Table, name: str) -> tuple[str, Collection[str]]:
    by_short = {short: full for full, argument in arguments.arguments.items() for short in argument.short}
    word = name.replace("-", "_")
    return by_short.get(word, word), arguments.arguments.keys()


def _instead(arguments: Table, name: str) -> str:
    positive = name.removeprefix("no_")
    if arguments.command_line and positive != name and positive in arguments.arguments:
        return f"write {positive}: false"
    return f"write one of {arguments.engine}'s own arguments, or leave it out"


def _title(arguments: Table) -> str:
    return f"{arguments.engine} {arguments.version}"
