"""What plugins say of a row's methods, with a link where one can be made safely."""

import re
from dataclasses import dataclass
from urllib.parse import quote

from kdbench.leaderboard import About, BoardSpec

_ARXIV = re.compile(r"(\d{4}\.\d{4,5}|[a-z-]+(\.[A-Z]{2})?/\d{7})(v\d+)?")
_DOI = re.compile(r"10\.\d{4,9}/\S+")
_MOST_AUTHORS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A method as its plugin describes it.

    Attributes:
        paper: Authors, year, title and venue in one line; "" where none is named.
        link: An https address, or "".
        label: What the link says.
    """

    name: str
    summary: str
    family: str
    paper: str
    link: str
    label: str


def described(method: str, spec: BoardSpec) -> tuple[Described, ...]:
    """Of each member of a method that anything is said of."""
    known = ((name, spec.described.get(name)) for name in dict.fromkeys(method.split("+")))
    return tuple(_described(name, about) for name, about in known if about)


def families(method: str, spec: BoardSpec) -> tuple[str, ...]:
    """Of all members, sorted, each once."""
    return tuple(sorted({one.family for one in described(method, spec) if one.family}))


def link(about: About) -> tuple[str, str]:
    """Address and label of the paper, both "" unless number and address are of their known forms.

    Example:
        >>> link(About(arxiv="1503.02531"))
        ('https://arxiv.org/abs/1503.02531', 'arXiv:1503.02531')
        >>> link(About(arxiv="javascript:alert(1)"))
        ('', '')
    """
    if _ARXIV.fullmatch(about.arxiv):
        return f"https://arxiv.org/abs/{quote(about.arxiv)}", f"arXiv:{about.arxiv}"
    if _DOI.fullmatch(about.doi):
        return f"https://doi.org/{quote(about.doi)}", f"doi:{about.doi}"
    return "", ""


def _described(name: str, about: About) -> Described:
    address, label = link(about)
    return Described(
        name=name, summary=about.summary, family=about.family, paper=_paper(about), link=address,
        label=label,
    )  # fmt: skip


def _paper(about: About) -> str:
    if not about.title:
        return ""
    people = [name for name in about.authors.split(" and ") if name]
    several = len(people) > _MOST_AUTHORS
    shown = ", ".join(people[:1] if several else people) + (" et al." if several else "")
    when = ", ".join(str(part) for part in (about.venue, about.year) if part)
    return f"{shown}: {about.title}" + (f" ({when})" if when else "")
