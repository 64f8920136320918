"""The index in the cache: what plugins yielded and what their files hold; a file an environment."""

import hashlib
import json
import platform
import sys
from collections.abc import Iterator, MutableMapping
from importlib import metadata
from pathlib import Path
from typing import Any

from kdbench.record import fingerprint, write_atomically
from kdbench.registry.places import cache_dir

__all__ = ["Index"]

_KEPT = 400
"""Entries of other plugins and older versions that stay in a section when it is written."""


def _interface() -> str:
    """Hash of the host's files that decide what the index holds."""
    host = Path(__file__).parents[1]
    patterns = ("api*.py", "api/*.py", "errors.py", "hookspecs.py", "record/*.py", "registry/*.py")
    files = [path for pattern in patterns for path in host.glob(pattern)]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sorted(files))).hexdigest()


def version(distribution: str) -> str:
    """Version of a distribution, or "" if it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


class Index:
    """Sections of JSON values by key, read from and written to the cache.

    Sections: "syntax" by a file's hash, "yields" by a plugin's, "facts" by both and spec, "timm".
    """

    def __init__(self) -> None:
        environment = [
            sys.prefix,
            platform.python_version(),
            version("torch"),
            version("timm"),
            _interface(),
        ]
        self.path = cache_dir() / "registry" / f"{fingerprint(environment)[:16]}.json"
        self._changed = False
        try:
            self._sections: dict[str, dict[str, Any]] = json.loads(self.path.read_bytes())
        except (OSError, ValueError):  # none yet, or torn by another program: it is only a cache
            self._sections = {}
        self._before = {name: set(section) for name, section in self._sections.items()}
        self._used: dict[str, set[str]] = {}

    def section(self, name: str) -> "Section":
        """The section as a mapping."""
        return Section(self._sections.setdefault(name, {}), self._used.setdefault(name, set()))

    def save(self) -> None:
        """Write what is new; nothing is written where nothing is.

        Raises:
            StoreError: The cache cannot be written.
        """
        if all(
            set(section) <= self._before.get(name, set())
            for name, section in self._sections.items()
        ):
            return
        for name, section in self._sections.items():
            old = [key for key in section if key not in self._used.get(name, ())]
            for key in old[: max(0, len(old) - _KEPT)]:
                del section[key]
        self._before = {name: set(section) for name, section in self._sections.items()}
        content = json.dumps(self._sections).encode()  # in the order of the plugins
        write_atomically(self.path, content, "KDBENCH_CACHE")


class Section(MutableMapping[str, Any]):
    """One section; remembers which of its keys were asked for, since those are kept."""

    def __init__(self, values: dict[str, Any], used: set[str]) -> None:
        self._values, self._used = values, used

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401 - any JSON
        value = self._values[key]
        self._used.add(key)
        return value

    def __setitem__(self, key: str, value: Any) -> None:  # noqa: ANN401 - any JSON
        self._values[key] = value
        self._used.add(key)

    def __delitem__(self, key: str) -> None:
        del self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)
