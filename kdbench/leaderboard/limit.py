"""What figures must not be, as commands are told: `ratio > 1.1`, of one method `kd: ratio > 2`."""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kdbench.errors import UsageError
from kdbench.record import Spec

_SIGNS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_LIMIT = re.compile(r"(?:(?P<method>.+):)?\s*(?P<field>\w+)\s*(?P<sign>[<>]=?)\s*(?P<value>\S+)\s*")


@dataclass(frozen=True, slots=True)
class Limit:
    """What no method may be, or not the one that is named.

    Attributes:
        text: As written.
        method: Spec, or "" for all.
    """

    text: str
    method: str
    field: str
    sign: str
    value: float

    @property
    def bound(self) -> str:
        """Sign and number."""
        return f"{self.sign} {self.value:g}"

    def broken_by(self, value: float) -> bool:
        """Whether a figure is what it must not be."""
        return _SIGNS[self.sign](value, self.value)

    @classmethod
    def parse(cls, text: str, fields: Sequence[str], example: str) -> "Limit":
        """The limit that `text` writes.

        Args:
            text: [METHOD:] FIELD SIGN NUMBER.
            fields: What limits may be on.
            example: One, for who writes something else.

        Raises:
            UsageError: It is not of that form.

        Example:
            >>> limit = Limit.parse("kd[temperature=2]: ratio > 1.1", ["ratio"], "ratio > 1.1")
            >>> limit.method, limit.field, limit.sign, limit.value
            ('kd[temperature=2]', 'ratio', '>', 1.1)
        """
        found = _LIMIT.fullmatch(text.strip())
        try:
            value = float(found["value"]) if found else math.nan
        except ValueError:
            value = math.nan
        if not found or not math.isfinite(value) or found["field"] not in fields:
            raise UsageError(
                f"{text!r} is no limit",
                f"expected [METHOD:] FIELD SIGN NUMBER; fields: {', '.join(fields)}",
                f"for example --fail-if {example!r}",
            )
        method = str(Spec.parse(found["method"])) if found["method"] else ""
        return cls(text.strip(), method, found["field"], found["sign"], value)
