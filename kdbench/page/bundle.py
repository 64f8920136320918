"""DataTables' source, as `itables` ships it: the part of the page that sorts and filters."""

import re
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from kdbench.errors import MissingExtra

_FILE = "itables/html/dt_bundle.js"
_EXPORTS = re.compile(r"export\s*\{([^{}]*)\};?")


@cache
def datatables() -> str:
    """A script that leaves DataTables in the page's `DataTable` and nothing else.

    Raises:
        MissingExtra: itables is not installed, or ships something else.
    """
    try:
        path = Path(str(distribution("itables").locate_file(_FILE)))
        return _without_exports(path.read_text("utf-8"))
    except (PackageNotFoundError, OSError, ValueError) as error:
        raise MissingExtra(
            "the page needs itables, whose DataTables sorts its tables",
            f"{_FILE}: {error}",
            "pip install 'kdbench[page]'",
        ) from error


def _without_exports(source: str) -> str:
    """The module as a script in a scope of its own: a page from disk cannot import modules."""
    found = _EXPORTS.search(source)
    names = dict(part.split(" as ")[::-1] for part in found[1].split(",")) if found else {}
    if not found or "default" not in names or "</script" in source.lower():
        raise ValueError("no such DataTables bundle")
    name = f"globalThis.DataTable={names['default']};"
    licences = source[found.end() :]
    return f"(()=>{{{source[: found.start()]}{name}{licences}\n}})();"
