"""Who teaches whom: `resnet32x4:resnet8x4`, `3*resnet56:resnet20`, `resnet110>resnet20:resnet8`."""

import re
from dataclasses import dataclass

from kdbench.errors import UsageError
from kdbench.record.spec import Spec

_SCHEME = r"(?:hf-hub:|hf_hub:|local-dir:)?"
_NETWORK = rf"{_SCHEME}[^:\[\]>]+(?:\[[^\]]*\])?"
_SIZE = re.compile(r"[1-9][0-9]?|100")
_LINKS = 20
_LINK = rf"(?:[1-9]\d*\*)?{_NETWORK}"
_PAIR = re.compile(rf"(?P<teacher>{_LINK}(?:>{_LINK})*):(?P<student>{_NETWORK})")


@dataclass(frozen=True, slots=True, order=True)
class Recipe:
    """How a teacher comes about: `size` members of one network, trained from consecutive seeds.

    Attributes:
        network: Of each member.
        size: Number of members.
        teacher: Who taught them, in turn; None where they learnt from the labels alone. Written
            `resnet110>resnet20`: a teacher assistant, or with the same network a generation.

    Example:
        >>> Recipe.parse("3*resnet56").size
        3
        >>> str(Recipe.parse("resnet110>resnet20").teacher)
        'resnet110'
    """

    network: Spec
    size: int = 1
    teacher: "Recipe | None" = None

    @classmethod
    def parse(cls, text: str) -> "Recipe":
        """The recipe that `text` writes: networks from the first teacher on, parted by `>`."""
        found: Recipe | None = None
        links = _links(text)
        if len(links) > _LINKS:
            raise UsageError(
                f"{text!r} is not a teacher recipe",
                f"it has {len(links)} teachers in a row",
                f"name at most {_LINKS}",
            )
        for link in links:
            head, bracket, options = link.strip().partition("[")
            size, star, name = head.rpartition("*")
            if star and not _SIZE.fullmatch(size):
                raise UsageError(
                    f"{text!r} is not a teacher recipe",
                    "expected NETWORK, 3*NETWORK (at most 100 members) or TEACHER>NETWORK",
                )
            found = cls(Spec.parse(name + bracket + options), int(size) if star else 1, found)
        assert found is not None
        return found

    @property
    def chain(self) -> tuple["Recipe", ...]:
        """This recipe's links, the first teacher first."""
        return (*(self.teacher.chain if self.teacher else ()), self)

    def __str__(self) -> str:
        own = f"{self.size}*{self.network}" if self.size > 1 else str(self.network)
        return f"{self.teacher}>{own}" if self.teacher else own


def _links(text: str) -> list[str]:
    """What stands between the `>` outside of brackets."""
    links, depth, start = [], 0, 0
    for place, char in enumerate(text):
        depth += (char == "[") - (char == "]")
        if char == ">" and not depth:
            links.append(text[start:place])
            start = place + 1
    return [*links, text[start:]]


@dataclass(frozen=True, slots=True, order=True)
class Pair:
    """Teacher and student, written `resnet32x4:resnet8x4`.

    Example:
        >>> str(Pair.parse("resnet56:resnet8[width=0.5]").student)
        'resnet8[width=0.5]'
    """

    teacher: Recipe
    student: Spec

    @classmethod
    def parse(cls, text: str) -> "Pair":
        """The pair that `text` writes."""
        match = _PAIR.fullmatch(text.strip())
        if not match:
            raise UsageError(
                f"{text!r} is not a pair",
                "expected TEACHER:STUDENT",
                "for example resnet56:resnet20",
            )
        return cls(Recipe.parse(match["teacher"]), Spec.parse(match["student"]))

    def __str__(self) -> str:
        return f"{self.teacher}:{self.student}"
