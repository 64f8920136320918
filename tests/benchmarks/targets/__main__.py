"""Measures kdbench's targets of speed on this machine: raw figures, and a table of them.

    python tests/benchmarks/targets --only resnet56:resnet20 --json figures.json --markdown table.md

What is measured together takes turns, A B A B; a row of the table is the median of its rounds'
ratios. Groups that the file holds already stay as they are unless they are measured again; without
`--only` nothing is measured, and the table is made of what the file holds.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch
from figures import table
from groups import GROUPS, ROWS, SETTINGS, Asked, machine


def main() -> None:
    default = Asked()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", default=[], choices=GROUPS, metavar="GROUP",
                        help=f"what to measure; repeat: {', '.join(GROUPS)}")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=default.rounds)
    parser.add_argument("--steps", type=int, default=default.steps, help="of a block")
    parser.add_argument("--batch", type=int, default=default.batch)
    parser.add_argument("--rows", type=int, default=default.rows, help="of the transfer set")
    parser.add_argument("--board-epochs", type=int, default=default.board_epochs)
    parser.add_argument("--foreign", type=float, default=default.foreign, help="cores")
    parser.add_argument("--usual", help="WORKERSxTHREADS; by default the best is looked for")
    parser.add_argument("--json", type=Path, default=Path("figures.json"))
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args()
    workers, _, threads = (given.usual or "").partition("x")
    asked = Asked(
        rounds=given.rounds, steps=given.steps, batch=given.batch, rows=given.rows,
        board_epochs=given.board_epochs, foreign=given.foreign,
        settings=((int(workers), int(threads)),) if given.usual else SETTINGS,
    )  # fmt: skip
    held = json.loads(given.json.read_text("utf-8")) if given.json.exists() else {}
    for name in given.only:
        torch.set_num_threads(1)
        print(name, flush=True)
        held[name] = {"asked": asdict(asked), "machine": machine()} | GROUPS[name](asked)
        given.json.write_text(json.dumps(held, indent=1) + "\n", "utf-8")
    made = table(ROWS, held)
    print(made)
    if given.markdown:
        given.markdown.write_text(made, "utf-8")


if __name__ == "__main__":
    main()
