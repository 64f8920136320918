"""A data set as typed -> the spec of its plugin."""

from pathlib import Path

from kdbench.record import Spec
from kdbench.registry import Registry


def dataset_spec(text: str, registry: Registry) -> Spec:
    """The data set that `text` writes; `parquet:FOLDER` is short for `parquet[path=FOLDER]`.

    The short form is there for every data set with an option `path`; it makes the path absolute,
    because workers need not start where the user is.
    """
    spec = Spec.parse(text)
    head, colon, rest = spec.name.partition(":")
    entry = next((e for e in registry.entries if (e.kind, e.name) == ("dataset", head)), None)
    if not colon or entry is None or "path" not in entry.fields:
        return spec
    options = {**dict(spec.options), "path": str(Path(rest).expanduser().absolute())}
    return Spec(head, tuple(sorted(options.items())))
