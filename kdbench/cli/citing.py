"""`kdbench cite`: BibTeX entries of the papers that methods name, from the index, without torch."""

from typing import Annotated, Any

import typer

from kdbench.cli.options import AsJson, NoPlugin, PluginsDir, select
from kdbench.cli.output import json_out, say


def cite(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME", help="Methods, or plugin files with methods.")
    ],
    as_json: AsJson = False,
    plugins_dir: PluginsDir = None,
    no_plugin: NoPlugin = None,
) -> None:
    """Print the BibTeX entry of each method's paper, each paper once."""
    from kdbench.errors import UsageError
    from kdbench.record import Spec

    registry, chosen = select(names, plugins_dir, no_plugin)
    papers: dict[str, dict[str, Any]] = {}
    members = (member.name for text in chosen for member in Spec.parse(text).members)
    for name in dict.fromkeys(members):
        entry = registry.entry("method", name)
        if not entry.paper:
            raise UsageError(
                f"method {name!r} names no paper",
                "there is nothing to cite",
                f"see kdbench show {name}, or leave it out",
            )
        new = {**entry.paper, "bibtex": entry.bibtex, "methods": []}
        papers.setdefault(entry.bibtex, new)["methods"].append(name)
    if as_json:
        json_out(list(papers.values()))
        return
    for i, bibtex in enumerate(papers):
        if i:
            say()
        say(bibtex)
