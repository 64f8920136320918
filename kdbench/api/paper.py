"""Where a method was published."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """A publication, with what a citation needs.

    Attributes:
        authors: "Given Family" of each, parted by "and", as BibTeX has it.
        title: As printed.
        year: Of the publication.
        venue: Conference or journal, short; "" for a preprint alone.
        arxiv: arXiv number, or "".
        doi: DOI, or "" where there is none or an arXiv number says enough.
    """

    authors: str
    title: str
    year: int
    venue: str = ""
    arxiv: str = ""
    doi: str = ""

    @property
    def key(self) -> str:
        """First author's family name, year, first long word of the title: `hinton2015distilling`.

        Example:
            >>> Paper(authors="Geoffrey Hinton", title="Distilling the Knowledge", year=2015).key
            'hinton2015distilling'
        """
        family = self.authors.split(" and ")[0].split()[-1]
        words = re.findall(r"[A-Za-z]+", self.title)
        first = next((word for word in words if len(word) > 3), words[0])
        return re.sub(r"[^a-z0-9]", "", f"{family}{self.year}{first}".lower())

    @property
    def reference(self) -> str:
        """ArXiv number, DOI or, without either, the venue."""
        return f"arXiv:{self.arxiv}" if self.arxiv else self.doi or self.venue

    def bibtex(self) -> str:
        r"""The BibTeX entry, braces around the title so that its capitals stay.

        Example:
            >>> lines = Paper(authors="Ada Lovelace", title="Bits & Bytes", year=1843).bibtex()
            >>> print(lines.splitlines()[2])
              title = {{Bits \& Bytes}},
        """
        fields = {"author": self.authors, "title": f"{{{self.title}}}", "year": str(self.year)}
        fields |= {"booktitle": self.venue} if self.venue else {}
        fields |= {"eprint": self.arxiv, "archivePrefix": "arXiv"} if self.arxiv else {}
        fields |= {"doi": self.doi} if self.doi else {}
        printed = ("author", "title", "booktitle")  # an identifier is taken as it stands
        fields |= {
            name: re.sub(r"([&%$#_])", r"\\\1", fields[name]) for name in printed if name in fields
        }
        lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
        return f"@{'inproceedings' if self.venue else 'misc'}{{{self.key},\n{lines}}}"
