"""Which method takes which pair of networks, and what docs/support.md says of it."""

from pathlib import Path
from typing import Any

import pytest

from kdbench.testing import support

RUNS, PAIRS = support.RUNS, support.PAIRS
Found = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def methods(kdbench_registry: Any) -> dict[str, Any]:
    return support.installed()


@pytest.fixture(scope="module")
def found(methods: dict[str, Any]) -> Found:
    return {name: support.support(method) for name, method in methods.items()}


def test_four_of_five_methods_that_match_features_take_every_pair(
    methods: dict[str, Any], found: Found
) -> None:
    features = [name for name, method in methods.items() if method.family == "features"]
    everywhere = [name for name in features if set(found[name].values()) == {RUNS}]
    assert len(everywhere) >= 0.8 * len(features) > 0, set(features) - set(everywhere)


def test_what_a_method_declines_it_declines_with_a_reason(
    found: Found,
) -> None:
    for name, said in found.items():
        assert set(said) == set(PAIRS), name
        for why in said.values():
            what, _, reason = why.partition(": ")
            assert why == RUNS or (what and reason), (name, why)


def test_a_reason_on_the_page_has_a_number() -> None:
    from kdbench_methods.kd import KD

    said = {"one": dict.fromkeys(PAIRS, RUNS), "two": dict.fromkeys(PAIRS, "no maps: it has none")}
    page = support.page({"one": KD(), "two": KD()}, said)
    assert "| one | logits | runs | runs | runs |" in page
    assert "| two | logits | no (1) | no (1) | no (1) |" in page
    assert page.endswith("1. no maps: it has none\n")


def test_the_page_in_docs_says_what_was_found(
    methods: dict[str, Any], found: Found, kdbench_root: Path
) -> None:
    written = (kdbench_root / "docs" / "support.md").read_text("utf-8")
    assert written == support.page(methods, found), (
        "python -m kdbench.testing.support docs/support.md"
    )
