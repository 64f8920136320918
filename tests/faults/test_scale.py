"""What a store costs grows with its records, and no faster."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kdbench.record import Store, content

SCRIPT = Path(__file__).parent / "scale.py"


@pytest.fixture(scope="module")
def scale() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kdbench_scale", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def calls(stage: Any) -> int:
    """Function calls that a stage makes: unlike seconds, the same on a busy machine."""
    count = 0

    def counted(*_: Any) -> None:
        nonlocal count
        count += 1

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        stage()
    finally:
        sys.setprofile(before)
    return count


def test_loading_planning_and_boards_take_four_times_as_long_for_four_times_the_records(
    scale: ModuleType, kdbench_registry: Any, tmp_path: Path
) -> None:
    found: dict[int, dict[str, int]] = {}
    for seeds in (5, 20):
        suite = scale.asked(len(scale.METHODS)).select(seeds=list(range(seeds)))
        store = Store(tmp_path / str(seeds))
        for record in scale.made(suite, kdbench_registry, store.root):
            path = store.path(record)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content(record))
        stages = scale.stages(suite, kdbench_registry, store)
        found[seeds] = {name: calls(stages[name]) for name in ("load", "plan", "board")}
    for name, few in found[5].items():
        assert found[20][name] < 4 * 1.3 * few, name
