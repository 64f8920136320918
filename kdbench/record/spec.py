"""Names with options, as typed on the command line and in suites: `kd[temperature=2,alpha=0.5]`.

A sum of methods, `kd+at[weight=10]`, is one spec: its name is that of all members, and an option is
named by its member, `at.weight`.
"""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from kdbench.errors import UsageError

Value: TypeAlias = bool | int | float | str | None | tuple["Value", ...]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+/@:-]*")
_MEMBER = re.compile(r"[a-z][a-z0-9_]*(\[.*)?")
_WORDS = {"true": True, "false": False, "none": None}


@dataclass(frozen=True, slots=True, order=True)
class Spec:
    """A name and its options, sorted by key: the same thing is always written the same way.

    Example:
        >>> str(Spec.parse("kd[temperature=2, alpha=.5]"))
        'kd[alpha=0.5,temperature=2]'
    """

    name: str
    options: tuple[tuple[str, Value], ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Spec":
        """The spec that `text` writes.

        Raises:
            UsageError: The text is no name with optional [key=value,...], nor a sum of such.
        """
        parts = _split(text, "+")
        if len(parts) > 1 and all(_MEMBER.fullmatch(part.strip()) for part in parts):
            return cls.total([cls.parse(part) for part in parts])
        head, bracket, rest = text.strip().partition("[")
        if not _NAME.fullmatch(head) or (bracket and not rest.endswith("]")):
            raise UsageError(
                f"{text!r} is not a name with options",
                "expected name or name[key=value,...]",
                "see kdbench list",
            )
        options: dict[str, Value] = {}
        for item in _split(rest[:-1], ",") if bracket else []:
            key, equals, value = item.partition("=")
            key = key.strip()
            if not equals or not key.isidentifier() or key in options:
                raise UsageError(
                    f"bad option {item.strip()!r} in {text!r}",
                    "expected key=value, each key once",
                    "see kdbench show",
                )
            options[key] = _value(value.strip())
        return cls(head, tuple(sorted(options.items())))

    @classmethod
    def of(cls, name: str, options: Mapping[str, object]) -> "Spec":
        """The spec with these options."""
        return cls(name, tuple(sorted((key, frozen(value)) for key, value in options.items())))

    @classmethod
    def total(cls, members: Sequence["Spec"]) -> "Spec":
        """The sum of these specs.

        Raises:
            UsageError: One of them is there twice.
        """
        names = [member.name for member in members]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UsageError(
                f"{twice} is twice in {'+'.join(names)}",
                "a sum has each member once",
                "leave one out",
            )
        options = {f"{m.name}.{key}": value for m in members for key, value in m.options}
        return cls("+".join(names), tuple(sorted(options.items())))

    @property
    def members(self) -> tuple["Spec", ...]:
        """The specs that this one is the sum of, in order; of a plain one, itself.

        Example:
            >>> [str(member) for member in Spec.parse("kd+at[weight=10]").members]
            ['kd', 'at[weight=10]']
        """
        names = self.name.split("+")
        if len(names) == 1 or not all(map(_MEMBER.fullmatch, names)):
            return (self,)
        own: dict[str, dict[str, Value]] = {name: {} for name in names}
        for key, value in self.options:
            name, _, option = key.partition(".")
            own[name][option] = value
        return tuple(Spec.of(name, options) for name, options in own.items())

    def __str__(self) -> str:
        members = self.members
        if len(members) > 1:
            return "+".join(map(str, members))
        options = ",".join(f"{key}={_text(value)}" for key, value in self.options)
        return f"{self.name}[{options}]" if options else self.name

    def without(self, *keys: str) -> "Spec":
        """The same spec less these options."""
        return Spec(self.name, tuple((k, v) for k, v in self.options if k not in keys))


def _split(text: str, mark: str) -> list[str]:
    """Items between the marks that stand outside of parentheses, brackets and quotes."""
    items, depth, quote, start, escaped = [], 0, "", 0, False
    for i, char in enumerate(text):
        if quote:
            quote = "" if char == quote and not escaped else quote
            escaped = char == "\\" and not escaped
        elif char in "'\"":
            quote = char
        elif char in "([":
            depth += 1
        elif char in ")]":
            depth -= 1
        elif char == mark and depth == 0:
            items.append(text[start:i])
            start = i + 1
    return [*items, text[start:]] if text.strip() else []


def _value(text: str) -> Value:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return frozen(ast.literal_eval(text))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def frozen(value: object) -> Value:
    """An option's value from JSON or TOML: lists as tuples.

    Raises:
        ValueError: It is neither a scalar nor a list of such.
    """
    if isinstance(value, (list, tuple)):
        return tuple(frozen(item) for item in value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f"{value!r} is not an option value")


def _text(value: Value) -> str:
    if isinstance(value, tuple):
        return _literal(value)
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, str):
        plain = _value(value) == value and not re.search(r"[\s,=\[\]()'\"]", value)
        return value if plain else repr(value)
    return repr(value)


def _literal(value: Value) -> str:
    """The value as Python writes it, without spaces; inside of a tuple there are no bare words."""
    if not isinstance(value, tuple):
        return repr(value)
    return "(" + ",".join(map(_literal, value)) + ("," if len(value) == 1 else "") + ")"
