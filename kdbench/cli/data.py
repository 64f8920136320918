"""`kdbench prepare`: bring data sets here and look at them once."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdbench.cli.options import AsJson, NoPlugin, PluginsDir, find
from kdbench.cli.output import json_out, say

if TYPE_CHECKING:
    from kdbench.registry import Registry

_LOOK = 256
"""Rows of each split that are decoded, to see that they can be."""


def prepare(
    datasets: Annotated[
        list[str], typer.Argument(metavar="DATASET...", help="Data sets, as suites name them.")
    ],
    as_json: AsJson = False,
    plugins_dir: PluginsDir = None,
    no_plugin: NoPlugin = None,
) -> None:
    """Bring data sets to KDBENCH_DATA, open each split, say what is there; may use the network."""
    registry = find(plugins_dir, no_plugin)
    found = []
    for text in datasets:
        found.append(_prepared(text, registry))
        if not as_json:
            _print(found[-1])
    if as_json:
        json_out(found)


def _prepared(text: str, registry: "Registry") -> dict[str, Any]:
    """What is known of the data set once it is here."""
    from kdbench.api import DataSet
    from kdbench.data import open_split
    from kdbench.plan import dataset_spec
    from kdbench.registry import build, cache_dir, data_dir, load

    spec, root = dataset_spec(text, registry), str(data_dir())
    source = registry.entry("dataset", spec.name).source
    dataset = build(load(source)["dataset", spec.name], spec)
    assert isinstance(dataset, DataSet)
    dataset.prepare(root)
    facts = registry.dataset(spec, root)
    splits = {}
    for split in ("train", "test"):
        rows = dataset.load(root, split)
        seen = open_split(
            dataset, facts.name, root, cache_dir(), split, range(min(_LOOK, len(rows)))
        )
        splits[split] = {"rows": len(rows), "digest": rows.digest, "decoded": len(seen)}
    return {
        "name": facts.name,
        "classes": facts.num_classes,
        "image_shape": list(facts.image_shape),
        "licence": facts.licence,
        "source": facts.origin,
        "splits": splits,
    }


def _print(facts: dict[str, Any]) -> None:
    channels, height, width = facts["image_shape"]
    say(f"{facts['name']}: {facts['classes']} classes, images {channels} x {height} x {width}")
    for name, split in facts["splits"].items():
        say(f"  {name:<6}{split['rows']:>8} rows  digest {split['digest'][:16]}")
    say(f"  licence: {facts['licence']}")
    say(f"  source:  {facts['source']}")
