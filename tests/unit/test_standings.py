"""Where methods stand: intervals that cover, ranks, letters, and pairing that is kept."""

import itertools
from typing import Any

import numpy as np
import pytest
import scipy.stats

from kdbench.statistics import Standing, standings

LARGE = 0.3


def drawn(stream: np.random.Generator, gains: dict[str, float], cells: int, n: int) -> Any:
    """Values by method, cell and seed: a seed's own share, which pairing takes out, and noise."""
    values: dict[str, dict[str, dict[int, float]]] = {name: {} for name in gains}
    for cell in range(cells):
        shared = stream.normal(0, 1, n)
        for name, gain in gains.items():
            noise = stream.normal(0, 0.1, n)
            values[name][f"c{cell}"] = dict(enumerate((gain + shared + noise).tolist()))
    return values


def test_in_one_cell_of_few_seeds_the_interval_of_the_mean_covers_it() -> None:
    stream, hits = np.random.default_rng(3), 0
    for _ in range(400):
        values = {"m": {"c": dict(enumerate(stream.normal(2.0, 1.0, 5).tolist()))}}
        found = standings(values, resamples=400)["m"]
        assert found.low is not None and found.high is not None
        hits += found.low <= 2.0 <= found.high
    assert hits / 400 > 0.91


def test_over_many_cells_the_interval_covers_the_mean_of_all_cells_like_these() -> None:
    stream, hits = np.random.default_rng(4), 0
    for _ in range(300):
        effects = stream.normal(1.0, 0.5, 8)
        cells = {
            f"c{k}": dict(enumerate(stream.normal(effect, 0.2, 5).tolist()))
            for k, effect in enumerate(effects)
        }
        found = standings({"m": cells}, resamples=400)["m"]
        assert found.low is not None and found.high is not None
        hits += found.low <= 1.0 <= found.high
    assert hits / 300 > 0.91


@pytest.mark.parametrize("n", [3, 5, 8])
def test_methods_that_are_the_same_share_a_letter(n: int) -> None:
    stream, tied = np.random.default_rng(n), 0
    for _ in range(300):
        values = drawn(stream, dict.fromkeys("abcde", 0.0), 2, n)
        tied += {one.letters for one in standings(values, resamples=10).values()} == {"a"}
    assert tied / 300 > 0.93


def test_methods_that_differ_do_not_and_pairing_is_what_tells_them() -> None:
    values = drawn(np.random.default_rng(1), {"good": LARGE, "bad": -LARGE, "same": LARGE}, 2, 5)
    found = standings(values)
    assert found["good"].letters == found["same"].letters == "a"
    assert found["bad"].letters == "b"
    assert found["bad"].rank == (3, 3)
    assert {found["good"].rank, found["same"].rank} <= {(1, 1), (1, 2), (2, 2)}
    lone = values["good"]["c0"]
    assert (
        scipy.stats.ttest_ind(list(lone.values()), list(values["bad"]["c0"].values())).pvalue > 0.05
    )


def test_a_method_between_two_groups_has_the_letters_of_both() -> None:
    levels = {"a": 0.0, "b": 0.001, "m": 0.5, "y": 1.0}
    spread = {"a": 0.01, "b": 0.01, "m": 1.0, "y": 0.01}
    stream = np.random.default_rng(0)
    values = {
        name: {
            "c": dict(enumerate((levels[name] + spread[name] * stream.normal(0, 1, 5)).tolist()))
        }
        for name in levels
    }
    letters = {name: one.letters for name, one in standings(values).items()}
    assert set(letters["a"]) & set(letters["b"]) and set(letters["m"]) == {"a", "b"}
    assert not set(letters["a"]) & set(letters["y"])


def test_two_share_a_letter_exactly_when_they_are_not_told_apart() -> None:
    stream = np.random.default_rng(8)
    values = drawn(stream, {name: k * 0.06 for k, name in enumerate("abcdefgh")}, 2, 4)
    whole = standings(values)
    p = {}
    for one, other in itertools.combinations(values, 2):
        apart = [
            np.array([values[one][cell][s] - values[other][cell][s] for s in range(4)])
            for cell in values[one]
        ]
        parts = np.array([d.var(ddof=1) / 4 / 4 for d in apart])
        statistic = np.mean([d.mean() for d in apart]) / np.sqrt(parts.sum())
        p[one, other] = 2 * scipy.stats.t.sf(
            abs(statistic), parts.sum() ** 2 / (parts**2 / 3).sum()
        )
    told, least = set(), 0.0
    for place, pair in enumerate(sorted(p, key=lambda pair: p[pair])):
        least = max(least, (len(p) - place) * p[pair])
        told |= {pair} if least < 0.05 else set()
    assert 0 < len(told) < len(p)
    for pair in p:
        assert bool(set(whole[pair[0]].letters) & set(whole[pair[1]].letters)) == (pair not in told)


def test_where_letters_would_be_too_many_there_are_none() -> None:
    stream = np.random.default_rng(5)
    values = drawn(stream, {f"m{k:02}": k * 0.05 for k in range(40)}, 1, 5)
    found = standings(values, resamples=50)
    assert {one.letters for one in found.values()} == {""}
    assert all(one.rank for one in found.values())


@pytest.mark.parametrize("n", [3, 5, 8])
def test_the_best_of_twenty_is_a_contender_and_far_worse_ones_are_not(n: int) -> None:
    stream, kept, others = np.random.default_rng(n), 0, 0
    gains = {f"m{k:02}": -0.04 * k for k in range(20)}
    for _ in range(100):
        found = standings(drawn(stream, gains, 1, n), resamples=10)
        kept += found["m00"].contender is True
        others += sum(bool(one.contender) for one in found.values())
        leader = max(found.values(), key=lambda one: one.mean)
        assert leader.contender
    assert kept / 100 >= 0.95
    assert others / 100 < {3: 20, 5: 14, 8: 8}[n]


def test_of_methods_that_are_the_same_each_is_a_contender_in_nineteen_of_twenty() -> None:
    stream, kept = np.random.default_rng(7), 0
    for _ in range(100):
        found = standings(drawn(stream, dict.fromkeys("abcdefghij", 0.0), 2, 5), resamples=10)
        kept += sum(bool(one.contender) for one in found.values())
    assert kept / 1000 >= 0.95


def test_contenders_are_those_that_no_one_sided_test_beats() -> None:
    values = drawn(
        np.random.default_rng(9), {name: k * 0.1 for k, name in enumerate("abcdef")}, 1, 5
    )
    kept = set()
    for name, cells in values.items():
        ours = list(cells["c0"].values())
        p = [
            scipy.stats.ttest_rel(list(other["c0"].values()), ours, alternative="greater").pvalue
            for key, other in values.items() if key != name
        ]  # fmt: skip
        kept |= {name} if min(p) >= 0.05 / 5 else set()
    assert 0 < len(kept) < 6
    assert {name for name, one in standings(values).items() if one.contender} == kept


def test_eighty_methods_of_unlike_variances_are_judged_without_listing_all_their_groups() -> None:
    stream = np.random.default_rng(0)
    spread = stream.lognormal(-2, 1, 80)
    values = {
        f"m{k:02}": {"c": dict(enumerate((spread[k] * stream.normal(0, 1, 5) - 0.03 * k).tolist()))}
        for k in range(80)
    }  # millions of groups, of which more than a dozen are none
    found = standings(values, resamples=10)
    assert {one.letters for one in found.values()} == {""}
    assert 0 < sum(bool(one.contender) for one in found.values()) < 80


def test_groups_are_the_largest_sets_of_methods_that_are_not_told_apart() -> None:
    stream = np.random.default_rng(6)
    for _ in range(20):
        gains = {name: float(stream.normal(0, 0.1)) for name in "abcdefg"}
        found = standings(drawn(stream, gains, 1, 5), resamples=10)
        groups = [
            {name for name, one in found.items() if letter in one.letters}
            for letter in sorted(set("".join(one.letters for one in found.values())))
        ]
        assert groups
        assert set().union(*groups) == set(found)
        assert not any(one < other for one in groups for other in groups)
        best = max(found, key=lambda name: found[name].mean)
        assert "a" in found[best].letters


def test_the_order_of_methods_cells_and_seeds_changes_no_bit() -> None:
    values = drawn(np.random.default_rng(2), {"a": 0.0, "b": 0.1, "c": 0.2}, 3, 4)
    turned = {
        name: {cell: dict(reversed(seeds.items())) for cell, seeds in reversed(cells.items())}
        for name, cells in reversed(values.items())
    }
    assert standings(values) == standings(turned)


def test_what_few_values_cannot_support_is_not_there() -> None:
    assert standings({}) == {}
    single = standings({"a": {"c": {0: 1.0}}, "b": {"c": {0: 2.0}}})
    assert single == {"a": Standing(mean=1.0), "b": Standing(mean=2.0)}
    assert single["b"].contender is None
    same = {"c": {0: 1.0, 1: 2.0, 2: 1.5}}
    twins = standings({"a": same, "b": same})
    assert twins["a"] == twins["b"] and twins["a"].letters == "a" and twins["a"].contender


def test_methods_of_other_cells_or_seeds_cannot_stand_beside_each_other() -> None:
    with pytest.raises(ValueError, match="b has other cells or seeds than a"):
        standings({"a": {"c": {0: 1.0, 1: 1.0}}, "b": {"c": {0: 1.0, 2: 1.0}}})
