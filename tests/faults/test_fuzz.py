"""Hostile files of every kind are refused in three short lines; see fuzz.py for the long form."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

fuzz = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("fuzz.py"))))
TARGETS = fuzz.targets()


@pytest.mark.parametrize("name", TARGETS)
def test_what_strangers_wrote_is_read_or_refused_and_does_nothing_else(name: str) -> None:
    found = fuzz.tried(TARGETS[name], 60, 7)
    assert found.tried == found.refused + found.accepted
    assert found.refused


def test_the_harness_sees_what_should_not_be(tmp_path: Path) -> None:
    wrong = {
        "another exception": lambda value, folder: {}["x"],
        "a long message": lambda value, folder: _refuse("x", "", "z"),
        "a file outside": lambda value, folder: (folder.parents[1] / "secret.json").write_text(""),
    }  # fmt: skip
    for read in wrong.values():
        target = fuzz.Target(next(iter(TARGETS.values())).inputs, read)
        with pytest.raises((KeyError, AssertionError)):
            fuzz.tried(target, 1, 0)


def _refuse(*lines: str) -> None:
    from kdbench.errors import DataError

    raise DataError(*lines)
