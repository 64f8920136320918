import itertools
import math

import numpy as np
import pytest
import scipy.stats

from kdbench.statistics import mean, median_interval, paired, ratio

VALUES = [0.713, 0.721, 0.709, 0.718, 0.716]


def test_the_interval_of_a_mean_is_scipys_t_interval():
    estimate = mean(VALUES)
    low, high = scipy.stats.t.interval(0.95, 4, loc=np.mean(VALUES), scale=scipy.stats.sem(VALUES))
    assert (estimate.mean, estimate.n) == (pytest.approx(np.mean(VALUES)), 5)
    assert (estimate.low, estimate.high) == pytest.approx((low, high), rel=1e-12)
    assert estimate.half == pytest.approx((high - low) / 2)
    assert estimate.deviation == pytest.approx(np.std(VALUES, ddof=1))


def test_one_value_has_no_interval():
    estimate = mean([0.7])
    assert (estimate.mean, estimate.n, estimate.half, estimate.deviation) == (0.7, 1, None, None)
    assert not estimate.identical


def test_the_order_of_values_changes_no_bit():
    assert len({mean(order) for order in itertools.permutations([0.1, 0.2, 0.3, 1e10, -1e10])}) == 1


def test_values_without_variance_are_called_identical():
    estimate = mean([0.7] * 3)
    assert estimate.identical and estimate.half == 0
    # The same method under two names, and two methods one row apart for every seed: rounding is no
    # variance.
    assert paired({0: 0.7, 1: 0.8}, {0: 0.7, 1: 0.8}).identical
    assert paired({0: 0.8, 1: 0.9}, {0: 0.7, 1: 0.8}).identical
    assert not mean([0.7, 0.7, 0.7 + 1e-9]).identical


def test_differences_are_taken_seed_by_seed():
    ours = {
        seed: value + gain
        for seed, value, gain in zip(range(5), VALUES, [1, 2, 3, 2, 2], strict=True)
    }
    estimate = paired(ours, dict(zip(reversed(range(5)), reversed(VALUES), strict=True)))
    test = scipy.stats.ttest_1samp([1, 2, 3, 2, 2], 0).confidence_interval()
    assert estimate.mean == pytest.approx(2)
    assert (estimate.low, estimate.high) == pytest.approx((test.low, test.high), rel=1e-9)
    assert estimate.low is not None and estimate.low > 0


def test_the_interval_of_differences_of_both_signs_holds_0():
    wide = paired({0: 1.0, 1: -1.0, 2: 0.5}, {0: 0.0, 1: 0.0, 2: 0.0})
    assert wide.low is not None and wide.high is not None and wide.low < 0 < wide.high


def test_values_with_other_seeds_cannot_be_paired():
    with pytest.raises(ValueError, match="2, 3 on one side only"):
        paired({0: 1.0, 2: 1.0}, {0: 1.0, 3: 1.0})


@pytest.mark.parametrize("values", [[], [math.nan], [1.0, math.inf]])
def test_no_number_comes_from_no_numbers(values):
    with pytest.raises(ValueError):
        mean(values)


def test_ratios_are_averaged_by_their_logarithms():
    estimate = ratio([1.0, 2.0, 4.0])
    low, high = scipy.stats.t.interval(
        0.95, 2, loc=math.log(2), scale=scipy.stats.sem(np.log([1, 2, 4]))
    )
    assert estimate.mean == pytest.approx(2)
    assert (estimate.low, estimate.high) == pytest.approx((math.exp(low), math.exp(high)))
    assert ratio([1.3]).mean == 1.3 and ratio([1.3]).low is None
    assert ratio([1.0, 1.0]).mean == 1 and ratio([1.0, 1.0]).identical
    assert math.isfinite(ratio([1e-300, 1e300]).high)


@pytest.mark.parametrize("values", [[0.0], [-1.0, 2.0], [math.nan]])
def test_ratios_are_above_zero(values):
    with pytest.raises(ValueError, match="above 0"):
        ratio(values)


def test_the_bootstrap_interval_of_a_median_is_close_to_the_one_by_order_statistics():
    values = list(np.random.default_rng(3).normal(size=101))
    low, high = median_interval(values)
    # Ranks 41 and 61 of 101 hold the median with 95 % by the binomial distribution.
    exact = sorted(values)[40], sorted(values)[60]
    assert low < np.median(values) < high
    assert (low, high) == pytest.approx(exact, abs=0.1)


def test_the_bootstrap_is_the_same_each_time_and_in_any_order():
    values = [3.0, 1.0, 4.0, 1.5, 5.0, 9.0, 2.0]
    assert median_interval(values) == median_interval(values[::-1])
    assert median_interval([2.0] * 6) == (2.0, 2.0)


def test_a_median_of_five_values_has_no_95_percent_interval():
    assert median_interval([1.0, 2.0, 3.0, 4.0, 5.0]) is None
    assert median_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) is not None
