"""Ranks over cells, against the published example and table of Demsar (2006)."""

import numpy as np
import pytest
import scipy.stats

from kdbench.statistics import average_ranks, critical, critical_difference

RANKS = """
4 3 2 1
1 2 3 4
4 1 2 3
4 1 3 2
4 2 3 1
1 2.5 4 2.5
3 2 4 1
2.5 2.5 4 1
4 3 2 1
2.5 2.5 2.5 2.5
4 2.5 1 2.5
3 2 4 1
4 1 2 3
3 1 4 2
"""
"""Table 6 of the paper: fourteen data sets, C4.5 as it is and with m, cf or both tuned."""

METHODS = ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")
CELLS = [[float(rank) for rank in line.split()] for line in RANKS.split("\n") if line]
PUBLISHED = {
    2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164,
}  # fmt: skip
"""Table 5a: critical values of the two-tailed Nemenyi test at 5 %, by number of methods."""


def values(
    cells: list[list[float]], names: tuple[str, ...] = METHODS
) -> dict[str, dict[str, float]]:
    """By method and cell, higher is better, in ranks' order."""
    return {
        name: {f"c{k:02}": -ranks[i] for k, ranks in enumerate(cells)}
        for i, name in enumerate(names)
    }


def test_the_published_example_has_its_ranks_difference_and_statistic() -> None:
    found = critical(values(CELLS))
    assert found is not None
    assert found.cells == 14
    assert [round(found.ranks[name], 3) for name in METHODS] == [3.143, 2.000, 2.893, 1.964]
    assert list(found.ranks) == ["C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"]
    assert round(found.difference, 2) == 1.25
    assert found.p == pytest.approx(scipy.stats.chi2.sf(9.28, 3), rel=0.01)
    # "the power of the Nemenyi test is not sufficient": the extremes are 1.18 apart
    assert found.cliques == (tuple(found.ranks),)
    assert round(critical_difference(4, 14, 0.90), 2) == 1.12


@pytest.mark.parametrize(("methods", "published"), PUBLISHED.items())
def test_critical_differences_are_the_published_ones(methods: int, published: float) -> None:
    quantile = critical_difference(methods, 20) / (methods * (methods + 1) / 120) ** 0.5
    assert quantile == pytest.approx(published, abs=0.0015)


def test_ties_share_the_mean_of_their_places() -> None:
    assert average_ranks([[0.5, 0.5, 0.1, 0.5]]) == [2.0, 2.0, 4.0, 2.0]


def test_the_p_value_is_friedman_s_where_nothing_ties() -> None:
    stream = np.random.default_rng(0)
    table = stream.normal(size=(9, 5))
    names = tuple("abcde")
    found = critical(values(table.tolist(), names))
    assert found is not None
    assert found.p == pytest.approx(scipy.stats.friedmanchisquare(*table.T).pvalue, rel=1e-4)


def test_cliques_are_runs_that_no_other_run_holds() -> None:
    cells = [[float(rank) for rank in range(1, 7)] for _ in range(20)]
    found = critical(values(cells, tuple("abcdef")))
    assert found is not None
    assert 1 < found.difference < 2
    assert found.cliques == tuple(map(tuple, ("ab", "bc", "cd", "de", "ef")))
    alone = [[1.0, 20.0, 20.0 + (-1) ** k, 20.0] for k in range(40)]
    apart = critical(values(alone, tuple("abcd")))
    assert apart is not None
    assert "a" not in {name for run in apart.cliques for name in run}


def test_methods_that_are_the_same_are_one_clique_in_nineteen_of_twenty() -> None:
    stream, tied = np.random.default_rng(1), 0
    for _ in range(400):
        found = critical(values(stream.normal(size=(10, 6)).tolist(), tuple("abcdef")))
        assert found is not None
        tied += found.cliques == (tuple(found.ranks),)
    assert tied / 400 > 0.93


@pytest.mark.parametrize(("cells", "methods"), [(5, 4), (6, 2), (0, 0)])
def test_too_few_cells_or_methods_tell_nothing(cells: int, methods: int) -> None:
    assert critical(values([[1.0, 2.0, 3.0, 4.0][:methods]] * cells, METHODS[:methods])) is None


def test_six_cells_are_enough_and_their_order_changes_no_bit() -> None:
    table = values(CELLS[:6])
    turned = {name: dict(reversed(row.items())) for name, row in reversed(table.items())}
    assert critical(table) is not None
    assert critical(table) == critical(turned)


def test_methods_of_other_cells_are_not_ranked() -> None:
    table = values(CELLS)
    del table["C4.5+m"]["c00"]
    with pytest.raises(ValueError, match=r"C4.5\+m has other cells than C4.5"):
        critical(table)


def test_fifty_methods_have_a_difference() -> None:
    stream = np.random.default_rng(2)
    names = tuple(f"m{k:02}" for k in range(50))
    found = critical(values(stream.normal(size=(6, 50)).tolist(), names))
    assert found is not None
    assert 30 < found.difference < 40
