"""Where plugins are: entry points, files, folders, `KDBENCH_PLUGINS`. Nothing is imported."""

import difflib
import importlib.metadata
import importlib.util
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.machinery import PathFinder
from pathlib import Path

from kdbench.errors import UsageError
from kdbench.registry.entry import Plugin, Source
from kdbench.registry.syntax import Memo, reach

__all__ = ["Candidate", "candidates"]

GROUP = "kdbench"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A plugin that was found, and what its source says before it is imported.

    Attributes:
        code: Fingerprint of its code.
        claims: The (kind, name) pairs that its hooks yield literally.
    """

    plugin: Plugin
    code: str = ""
    claims: tuple[tuple[str, str], ...] = ()


def candidates(
    files: Sequence[Path], folders: Sequence[Path], blocked: Sequence[str], memo: Memo
) -> list[Candidate]:
    """All plugins in a fixed order: first-party ones, other distributions, files; each file once.

    Raises:
        UsageError: A named file or folder is not there, or a blocked plugin is none.
    """
    found = sorted(_installed(memo), key=_order)
    known = {candidate.plugin.source.path for candidate in found}
    for path in [*files, *_listed(folders)]:
        if not path.is_file():
            raise UsageError(
                f"there is no plugin file {path}",
                "a method given by path is a file",
                "check the path",
            )
        found += _file(path, known, memo)
    for place in filter(None, os.environ.get("KDBENCH_PLUGINS", "").split(os.pathsep)):
        path = Path(place).expanduser()
        if not path.exists():
            source = Source(path.stem, "file", "", str(path), path.name, "", "")
            why = f"{path}: KDBENCH_PLUGINS names it, but it is not there"
            found.append(Candidate(Plugin(source, "broken", why)))
        for file in _listed([path]) if path.is_dir() else [path] if path.exists() else []:
            found += _file(file, known, memo)
    return _block(found, blocked)


def _order(candidate: Candidate) -> tuple[bool, str, str]:
    source = candidate.plugin.source
    return not source.first_party, source.distribution.lower(), source.name


def _listed(folders: Iterable[Path]) -> Iterator[Path]:
    """The plugin files of each folder: every *.py that does not start with an underscore."""
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(
                f"there is no plugin folder {folder}",
                "--plugins-dir takes a folder",
                "check the path",
            )
        yield from sorted(path for path in folder.glob("*.py") if not path.name.startswith("_"))


def _file(path: Path, known: set[str], memo: Memo) -> list[Candidate]:
    """The plugin of one file, unless it was found already."""
    path = path.resolve()
    if str(path) in known:
        return []
    known.add(str(path))
    reached = reach(path.stem, path, memo, file=True)
    short = reached.digest[:12]
    module = f"kdbench_file_{re.sub(r'[^0-9A-Za-z_]', '_', path.stem)}_{short}"
    source = Source(path.stem, "file", module, str(path), path.name, short, reached.digest)
    return [Candidate(Plugin(source, "ok"), reached.code, reached.claims)]


def _installed(memo: Memo) -> Iterator[Candidate]:
    """The entry points of all distributions; of one installed twice, the first on the path."""
    seen = set()
    for distribution in importlib.metadata.distributions():
        points = distribution.entry_points.select(group=GROUP)
        if not points or (name := re.sub(r"[-_.]+", "-", distribution.name).lower()) in seen:
            continue
        seen.add(name)
        for point in points:
            source = Source(
                point.name,
                "distribution",
                point.module,
                "",
                distribution.name,
                distribution.version,
                "",
                name == "kdbench",
            )
            try:
                path = _module_file(point.module)
            except (ImportError, ValueError, AttributeError) as error:
                yield Candidate(Plugin(source, "broken", f"{source.origin}: {error}"))
                continue
            if point.attr or path is None:
                whole = "names no module, which is what the group kdbench holds"
                why = f"entry point {point.value!r} {whole if point.attr else 'is not importable'}"
                yield Candidate(Plugin(source, "broken", f"{source.origin}: {why}"))
                continue
            reached = reach(point.module, path, memo)
            source = replace(source, path=str(path), digest=reached.digest)
            yield Candidate(Plugin(source, "ok"), reached.code, reached.claims)


def _module_file(module: str) -> Path | None:
    """The file of a dotted module. `importlib.util.find_spec` would import its package."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    for i, _ in enumerate(rest):
        if spec is None or spec.submodule_search_locations is None:
            return None
        folders = list(spec.submodule_search_locations)
        spec = PathFinder.find_spec(".".join([top, *rest[: i + 1]]), folders)
    file = Path(spec.origin) if spec and spec.origin else None
    return file.resolve() if file and file.is_file() else None


def _block(found: list[Candidate], blocked: Sequence[str]) -> list[Candidate]:
    """The same candidates, those that are named marked as blocked."""
    names = {
        name
        for candidate in found
        for name in (candidate.plugin.source.name, candidate.plugin.source.distribution)
    }
    for name in blocked:
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise UsageError(
                f"there is no plugin {name!r} to leave out",
                f"{hint}{len(found)} plugins were found",
                "see kdbench plugins",
            )
    return [
        replace(c, plugin=replace(c.plugin, state="blocked", error="left out by --no-plugin"))
        if {c.plugin.source.name, c.plugin.source.distribution} & set(blocked)
        else c
        for c in found
    ]
