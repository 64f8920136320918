"""Differences judged together: against scipy, against simulation, and where nothing can be said."""

import itertools

import numpy as np
import pytest
import scipy.stats

from kdbench.statistics import contrasts, mean, seeds_to_settle

CLEAR, FAINT, NONE = [1.0, 1.1, 0.9, 1.05], [0.2, 0.5, 0.1, 0.3], [0.3, -0.2, 0.1, -0.3]


def test_p_is_scipys_paired_t_test() -> None:
    found = contrasts({"faint": mean(FAINT)})["faint"]
    assert found.p == pytest.approx(scipy.stats.ttest_1samp(FAINT, 0).pvalue, rel=1e-9)
    assert found.adjusted == found.p


def test_holm_multiplies_the_smallest_by_all_and_never_falls() -> None:
    values = {"clear": CLEAR, "faint": FAINT, "none": NONE, "same": [0.1, 0.1, 0.1], "one": [0.5]}
    found = contrasts({name: mean(of) for name, of in values.items()})
    p = {name: one.p for name, one in found.items() if one.p is not None}
    assert set(p) == {"clear", "faint", "none"}  # what cannot be tested is not counted
    assert found["clear"].adjusted == pytest.approx(3 * p["clear"])
    assert found["faint"].adjusted == pytest.approx(2 * p["faint"])
    assert found["none"].adjusted == max(p["none"], 2 * p["faint"])
    assert [found[name].differs for name in values] == [True, False, False, False, False]
    for name in ("same", "one"):
        assert (found[name].p, found[name].adjusted, found[name].more) == (None, None, None)


def test_the_family_decides_and_its_order_does_not() -> None:
    assert contrasts({"faint": mean(FAINT)})["faint"].differs
    family = {"faint": mean(FAINT), "none": mean(NONE), "again": mean(FAINT)}
    orders = [dict(order) for order in itertools.permutations(family.items())]
    results = [contrasts(order) for order in orders]
    assert all(result == results[0] for result in results)
    assert not results[0]["faint"].differs
    assert results[0]["faint"] == results[0]["again"]


@pytest.mark.parametrize(("effect", "level"), [(0.6, 0.05), (1.0, 0.05), (1.0, 0.01), (3.0, 0.05)])
def test_so_many_seeds_find_the_difference_in_four_of_five_simulations(
    effect: float, level: float
) -> None:
    values = np.array([1.0, -1.0, 0.5, -0.5])
    values = effect + (values - values.mean()) / values.std(ddof=1)
    needed = seeds_to_settle(mean(values.tolist()), level)
    assert needed is not None
    draws = np.random.default_rng(7).normal(effect, 1.0, (20_000, needed))
    found = (scipy.stats.ttest_1samp(draws, 0, axis=1).pvalue < level).mean()
    fewer = (scipy.stats.ttest_1samp(draws[:, 1:], 0, axis=1).pvalue < level).mean()
    assert fewer - 0.01 < 0.8 < found + 0.01


def test_what_would_take_very_many_seeds_or_has_no_variance_is_not_promised() -> None:
    assert seeds_to_settle(mean([0.01, -0.01, 0.0001])) is None
    assert seeds_to_settle(mean([0.1, 0.1])) is None
    assert seeds_to_settle(mean([0.1])) is None
    assert seeds_to_settle(mean([1.0, 1.0001, 0.9999])) == 2  # far out in the tail


def test_what_is_told_needs_no_more_and_what_is_not_needs_at_least_one() -> None:
    found = contrasts({"clear": mean(CLEAR), "none": mean(NONE)})
    assert found["clear"].more is None
    assert found["none"].more is None or found["none"].more >= 1
    lucky = {f"m{k}": mean([0.2 + k / 100, 0.5, 0.1, 0.3]) for k in range(4)}
    assert all(one.more >= 1 for one in contrasts(lucky).values() if not one.differs and one.more)
