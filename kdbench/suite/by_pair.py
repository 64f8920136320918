"""`[methods.by_pair."TEACHER:STUDENT"]`: what a suite sets for one pair, checked."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kdbench.errors import UsageError
from kdbench.record import Pair, Spec
from kdbench.suite.mistakes import meant


def flat(pair: str, table: Mapping[str, Mapping[str, Any]], origin: str) -> dict[str, Any]:
    """The pair's options by method; in a sum `at = {weight = 1}` is `at.weight`.

    Raises:
        UsageError: A method with options in its name, an option of no member of a sum, or a value
            that no option has.
    """
    found = {}
    for method, options in table.items():
        where = f"{origin} for {pair} sets {method!r}"
        spec = Spec.parse(method)
        if spec.options:
            raise UsageError(where, "a name was expected", f"write {spec.name} = {{ ... }}")
        members = [member.name for member in spec.members]
        own = dict(options) if len(members) == 1 else dict(_dotted(options))
        for key in own if len(members) > 1 else ():
            member, dot, _ = key.partition(".")
            if not dot or member not in members:
                why = f"no member of the sum has the option {key!r}, expected MEMBER.OPTION"
                raise UsageError(where, why, meant(member, members))
        try:
            Spec.of(spec.name, own)
        except ValueError as error:
            raise UsageError(where, str(error), "give numbers, texts, or lists of them") from None
        found[spec.name] = own
    return found


def _dotted(options: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for key, value in options.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{option}", inner) for option, inner in value.items())
        else:
            yield key, value


def check(
    tables: Iterable[str], own: Mapping[str, Mapping[str, Any]], pairs: Sequence[str],
    methods: Sequence[str], origin: str,
) -> None:  # fmt: skip
    """Refuse what is no pair, and what the file's own tables say of others than its axes.

    Raises:
        UsageError: As said.
    """
    named = {text: str(Pair.parse(text)) for text in tables}
    known = [str(Pair.parse(pair)) for pair in pairs]
    plain = [spec.name for spec in map(Spec.parse, methods) if not spec.options]
    for text, table in own.items():
        if named[text] not in known:
            why = "but axes.pairs does not name it"
            raise UsageError(f"{origin} has settings for {text!r}", why, meant(named[text], known))
        for method in table:
            if Spec.parse(method).name not in plain:
                why = "but axes.methods does not name it without options"
                raise UsageError(f"{origin} for {text} sets {method!r}", why, meant(method, plain))
