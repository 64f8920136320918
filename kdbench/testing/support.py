"""Methods x kinds of pairs -> "runs", or why not: two steps of training each."""

import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from kdbench.api import Method, Unsupported
from kdbench.registry import load, scan
from kdbench.testing.bench import Bench, Case

CNN = ("resnet14[width=0.5]", "resnet8[width=0.25]")
"""Teacher and student of other depth and width."""

TOKENS = "test_vit[patch_size=8]"
"""timm's smallest vision transformer, with 4 x 4 tokens at 32 x 32 pixels."""

PAIRS = {
    "CNN to CNN": CNN,
    "CNN to ViT": (CNN[0], TOKENS),
    "ViT to CNN": (TOKENS, CNN[1]),
}
"""Teacher and student of each kind of pair."""

RUNS = "runs"

_HEAD = """# Which method takes which pair

Written by `python -m kdbench.testing.support docs/support.md`, and compared with it by a test: two
steps of each installed method on images of 32 x 32 pixels and 10 classes. A method that cannot do a
pair declines it before the first step, with the reason below.

"""


def support(method: Method) -> dict[str, str]:
    """For each kind of pair, "runs" or the reason why the method declines it.

    Raises:
        Whatever else the method raises.
    """
    found = {}
    for kind, (teacher, student) in PAIRS.items():
        case = Case(
            teacher=teacher, student=student, image_shape=(3, 32, 32), rows=16, batch_size=8,
            steps=2,
        )  # fmt: skip
        try:
            Bench(method, case).train()
            found[kind] = RUNS
        except Unsupported as error:
            found[kind] = f"{error.what}: {error.why}"
    return found


def installed() -> dict[str, Method]:
    """Every usable method that an installed plugin yields, by name."""
    found = {}
    for entry in scan().entries:
        if entry.kind == "method" and entry.source.kind == "distribution":
            method = load(entry.source)["method", entry.name]
            assert isinstance(method, Method)
            found[entry.name] = method
    return dict(sorted(found.items()))


def page(methods: Mapping[str, Method], found: Mapping[str, Mapping[str, str]]) -> str:
    """The Markdown page of what was found: a table, with reasons as footnotes.

    Args:
        methods: By name.
        found: What `support` gives for each.
    """
    reasons: dict[str, int] = {}
    lines = [
        "| method | family | " + " | ".join(PAIRS) + " |",
        "|---|---|" + "---|" * len(PAIRS),
    ]
    for name, method in methods.items():
        cells = []
        for kind in PAIRS:
            said = found[name][kind]
            note = "" if said == RUNS else reasons.setdefault(said, len(reasons) + 1)
            cells.append(RUNS if said == RUNS else f"no ({note})")
        lines.append(f"| {name} | {method.family or ''} | " + " | ".join(cells) + " |")
    pairs = [f"- {kind}: {teacher} teaches {student}" for kind, (teacher, student) in PAIRS.items()]
    notes = [f"{number}. {' '.join(why.split())}" for why, number in reasons.items()]
    parts = ["\n".join(pairs), "\n".join(lines), *(["\n".join(notes)] if notes else [])]
    return _HEAD + "\n\n".join(parts) + "\n"


def main(path: str) -> None:
    """Write the page of all installed methods."""
    torch.set_num_threads(1)
    methods = installed()
    found = {name: support(method) for name, method in methods.items()}
    Path(path).write_text(page(methods, found), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
