import dataclasses
import os
import re
import subprocess
import sys
from itertools import combinations
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from kdbench.leaderboard import BoardSpec, build, read
from kdbench.leaderboard.agreements import Agreement, Agreements
from kdbench.leaderboard.spec import About
from kdbench.page import palette
from kdbench.page.drawing import png, still
from kdbench.page.lettering import Box, fitted, placed, spread, width
from kdbench.page.plots import (
    costs,
    coverage,
    curves,
    fidelity,
    gains,
    likeness,
    pictures,
    plots,
    ranks,
    students,
)
from kdbench.page.plots import seeds as strips
from kdbench.page.plots.looks import kind, looks
from kdbench.page.plots.window import window
from kdbench.statistics import Estimate, mean

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = (
    "<script>alert(1)</script>", "\"' onload=alert(1) x='", "</svg><img src=x onerror=alert(1)>",
    "שלום \u202eevil\u2066", "bell\x07 and escape\x1b[31m\x00", "&lt;b&gt; ]]> <!--",
    "a_method_whose_name_does_not_want_to_end_" * 9, "datum['x']", "=1+1", "中文方法",
)  # fmt: skip


@pytest.fixture(scope="module")
def kdbench_digits(kdbench_root):
    """The committed board of the digits: two students, two kinds of stream."""
    return read(kdbench_root / "leaderboards" / "digits")


@pytest.fixture(scope="module")
def kdbench_fashion(kdbench_root):
    """The committed board with more than fifty methods."""
    return read(kdbench_root / "leaderboards" / "fashion-mini")


@pytest.fixture(scope="module")
def kdbench_plots(kdbench_digits):
    """All plots of the board of the digits, with agreements of the first table only."""
    known = Agreements((agreement_of(kdbench_digits.tables[0]), None), {1: "no logits"})
    return plots(kdbench_digits, known)


@pytest.fixture(scope="module")
def kdbench_toy(kdbench_record):
    """`kdbench_toy(names, **changes)`: a board of such methods, two baselines and three seeds."""

    def made(names=("a", "b"), seeds=(0, 1, 2), **changes):
        base = kdbench_record().question
        records = [
            kdbench_record(
                question=base.model_copy(update={"method": name, "seed": seed}),
                quality={"accuracy": 0.6 + 0.03 * place + 0.01 * ((seed + place) % 3)},
                fidelity={"test": {"agreement": 0.7 + 0.02 * place + 0.01 * seed}},
                teacher={
                    "weights": "ab" * 32, "parameters": 9, "multiply_adds": 9,
                    "quality": {"accuracy": 0.97},
                },
                **changes,
            )
            for place, name in enumerate(("scratch", "kd", *names))
            for seed in seeds
        ]  # fmt: skip
        spec = BoardSpec(suite="toy", title="Toy", baselines=("scratch", "kd"))
        return build(records, spec)

    return made


def texts(svg):
    root = ElementTree.fromstring(svg)
    return [one.text for tag in ("text", "tspan") for one in root.iter(SVG + tag) if one.text]


def by_key(found):
    return {plot.key: plot for plot in found}


def agreement_of(table):
    count = len(table.rows)
    values = [
        [1.0 if a == b else 0.9 - abs(a - b) / 100 for a in range(count)] for b in range(count)
    ]
    return Agreement(tuple(row.name for row in table.rows), tuple(map(tuple, values)))


def test_gains_are_the_contrasts_of_the_board_in_points_and_marked_by_what_is_told(kdbench_digits):
    marks = {one.name: (one.shape, one.colour, one.filled) for one in gains.VERDICTS}
    assert len({shape for shape, _, _ in marks.values()}) == len(marks)
    assert len({colour for _, colour, _ in marks.values()}) == len(marks)
    for table in kdbench_digits.tables:
        rows, seen = list(table.rows), set()
        shown = window([row.gains["kd"] for row in rows if "kd" in row.gains], [0.0])
        whole = dataclasses.replace(shown, low=-100.0, high=100.0)
        for row, one in zip(rows, gains.data(rows, "kd", whole), strict=True):
            contrast = row.contrasts.get("kd")
            seen.add(one["verdict"])
            if contrast is None:
                assert row.baseline == "kd" and one["verdict"] == "the baseline itself"
                continue
            difference = contrast.difference
            assert (one["mean"], one["low"], one["high"]) == pytest.approx(
                (100 * difference.mean, 100 * difference.low, 100 * difference.high)
            )
            told = "better" if difference.mean > 0 else "worse"
            assert one["verdict"] == (told if contrast.differs else "no difference shown")
        assert {"worse", "no difference shown", "the baseline itself"} <= seen


def test_gains_print_every_number_and_count_what_is_told(kdbench_fashion):
    (table,) = kdbench_fashion.tables
    plot = gains.plot(table, kdbench_fashion.spec.baselines, "gains-1")
    said = texts(plot.svg)
    contrasts = [row.contrasts["kd"] for row in table.rows if "kd" in row.contrasts]
    for one in contrasts:
        number = f"{100 * one.difference.mean:+.2f} ± {100 * one.difference.half:.2f}"
        assert number.replace("-", "−") in said
    methods = [
        row.contrasts["kd"] for row in table.rows if "kd" in row.contrasts and not row.baseline
    ]
    better = sum(one.differs and one.difference.mean > 0 for one in methods)
    worse = sum(one.differs and one.difference.mean < 0 for one in methods)
    told = f"Of {len(methods)} methods: {better} better than kd, {worse} worse, "
    assert told in plot.caption
    assert {row.name for row in table.rows} <= set(said)
    assert "n = 8" in plot.caption and "beyond" in plot.caption  # tfkd_self is far off


def test_a_board_without_baselines_has_no_gains_but_other_plots(kdbench_digits):
    whole = kdbench_digits.tables[0]
    board = build([record for row in whole.rows for record in row.records])
    kinds = {key.rpartition("-")[0] for key in by_key(plots(board))}
    assert kinds == {"costs", "fidelity", "seeds"}


@pytest.mark.parametrize("which", ["kdbench_digits", "kdbench_fashion"])
def test_no_method_beats_one_of_the_front_in_cost_and_accuracy(which, request):
    board = request.getfixturevalue(which)
    for table in board.tables:
        found = costs.points(table, board.spec)
        front = costs.front(found)

        def beats(one, other):
            x, y = one.x.mean <= other.x.mean, one.y.mean >= other.y.mean
            return x and y and (one.x.mean, one.y.mean) != (other.x.mean, other.y.mean)

        for point in found:
            assert (point in front) == (not any(beats(other, point) for other in found))
        assert [one.x.mean for one in front] == sorted(one.x.mean for one in front)
        assert all(point.named for point in front)
        assert (
            f"({', '.join(one.name for one in front)})"
            in costs.plot(table, board.spec, "costs-1").caption
        )


def test_costs_are_the_overheads_of_the_board_and_who_has_none_is_counted(kdbench_digits):
    table, spec = kdbench_digits.tables[0], kdbench_digits.spec
    bare = [dataclasses.replace(row, expense=None) for row in table.rows[:2]]
    cut = dataclasses.replace(table, rows=(*bare, *table.rows[2:]))
    found = {one.name: one for one in costs.points(cut, spec)}
    assert set(found) == {row.name for row in table.rows[2:]}
    for row in table.rows[2:]:
        one = found[row.name]
        assert one.x == row.expense.overhead
        assert one.y.mean == pytest.approx(100 * row.metrics["accuracy"].mean)
        assert one.y.low == pytest.approx(100 * row.metrics["accuracy"].low)
    plot = costs.plot(cut, spec, "costs-1")
    assert plot.caption.endswith("Left out, for want of a comparable time: 2.")
    assert plot.caption.startswith(f"{len(table.rows) - 2} methods and baselines, n = 5 seeds")
    assert "Left out" not in costs.plot(table, spec, "costs-1").caption
    assert set(found) <= set(texts(plot.svg))  # few, so all are named
    nobody = tuple(dataclasses.replace(row, expense=None) for row in table.rows)
    assert costs.plot(dataclasses.replace(table, rows=nobody), spec, "costs-1") is None


def test_fidelity_shows_agreement_accuracy_and_the_teachers_line(kdbench_fashion):
    (table,) = kdbench_fashion.tables
    found = {one.name: one for one in fidelity.points(table, kdbench_fashion.spec)}
    for row in table.rows:
        assert found[row.name].x.mean == pytest.approx(100 * row.metrics["agreement"].mean)
        assert found[row.name].y.mean == pytest.approx(100 * row.metrics["accuracy"].mean)
    best = max(table.rows, key=lambda row: row.metrics["agreement"].mean)
    assert found[best.name].named and found["kd"].named and not found["vid"].named
    plot = fidelity.plot(table, kdbench_fashion.spec, "fidelity-1")
    level = 100 * table.teachers[0].quality["accuracy"]
    assert f"teacher, {level:.2f} %" in texts(plot.svg)
    assert "dashed line" in plot.caption
    orphan = dataclasses.replace(table, teachers=())
    assert "dashed" not in fidelity.plot(orphan, kdbench_fashion.spec, "fidelity-1").caption


def test_every_seed_has_a_tick(kdbench_digits):
    for table in kdbench_digits.tables:
        plot = strips.plot(table, "seeds-1")
        root = ElementTree.fromstring(plot.svg)
        ticks = [
            path for path in root.iter(f"{SVG}path")
            if path.get("fill") == palette.GREY.variable
        ]  # fmt: skip
        assert len(ticks) == len(table.rows) * len(table.seeds)
        for row in table.rows:
            one = row.metrics["accuracy"]
            assert f"{100 * one.mean:.2f} ± {100 * one.half:.2f}" in texts(plot.svg)


def test_students_are_drawn_where_there_are_two_with_their_means(
    kdbench_digits, kdbench_fashion, kdbench_plots
):
    assert students.plot(kdbench_fashion.tables, kdbench_fashion.spec, "students-1") is None
    rows = [(t, row) for t in kdbench_digits.tables for row in t.rows if not row.question.quiz]
    latency = students.MEASURES[0]
    found = {
        (one.student, one.kind): one for one in students.groups(rows, kdbench_digits.spec, latency)
    }
    for table in kdbench_digits.tables:
        named = {row.name: row for row in table.rows}
        pair = [named["fitnet"], named["at"]]
        group = found[table.question.student, "features"]
        means = [100 * row.metrics["accuracy"].mean for row in pair]
        assert (group.count, group.accuracy) == (2, pytest.approx(sum(means) / 2))
        assert found[table.question.student, "kd"].accuracy == pytest.approx(
            100 * named["kd"].metrics["accuracy"].mean
        )
        ours = [row.latency_ms for t, row in rows if t is table]
        assert min(ours) <= group.size <= max(ours)
    plot = by_key(kdbench_plots)["students-1"]
    assert {table.question.student for table in kdbench_digits.tables} <= set(texts(plot.svg))


def test_curves_are_means_over_seeds_of_rows_that_have_them_all(kdbench_toy):
    assert curves.plot(kdbench_toy().tables[0], "curves-1") is None
    points = ((0.5, {"accuracy": 0.4}), (1.0, {"accuracy": 0.6, "nll": 1.0}))
    (table,) = kdbench_toy(curve=points).tables
    rows = list(table.rows)
    short = rows[0].records[0].model_copy(update={"curve": points[:1]})
    rows[0] = dataclasses.replace(rows[0], records=(short, *rows[0].records[1:]))
    other = rows[1].records[0].model_copy(update={"curve": ((0.5, {"accuracy": 0.1}), points[1])})
    rows[1] = dataclasses.replace(rows[1], records=(other, *rows[1].records[1:]))
    found = {one.row.name: one.points for one in curves.curves(rows)}
    assert rows[0].name not in found and len(found) == len(rows) - 1
    assert found[rows[1].name] == (
        (50.0, pytest.approx(30.0)), (100.0, pytest.approx(60.0)),
    )  # fmt: skip
    plot = curves.plot(dataclasses.replace(table, rows=tuple(rows)), "curves-1")
    assert plot.caption.endswith("Left out, for want of a curve of every seed: 1.")
    assert set(found) <= set(texts(plot.svg))


def test_coverage_tells_done_missing_and_failed_apart(kdbench_digits, kdbench_fashion):
    assert coverage.plot(kdbench_fashion, "coverage") is None
    whole = coverage.plot(kdbench_digits, "coverage")
    assert texts(whole.svg).count("5") == sum(len(t.rows) for t in kdbench_digits.tables)
    records = [r for t in kdbench_digits.tables for row in t.rows for r in row.records]

    def kept(record):
        ask = record.question
        return not (ask.method == "at" and ask.seed < 2)

    def failed(record):
        if record.question.method != "rco" or record.question.seed != 1:
            return record
        return record.model_copy(update={"status": "oom", "quality": {}, "cost": None})

    board = build([failed(one) for one in records if kept(one)], kdbench_digits.spec)
    said = texts(coverage.plot(board, "coverage").svg)
    assert said.count("3 of 5") == 2 and said.count("4 of 5, 1 failed") == 2
    assert {"all seeds", "some seeds missing", "some seeds failed"} <= set(said)
    one = dataclasses.replace(board, tables=board.tables[:1], absent=(("digits", "a:b[width=2]"),))
    said = texts(coverage.plot(one, "coverage").svg)
    assert {"not tried", "a", "b[width=2]"} <= set(said)


def test_agreement_is_drawn_between_every_two_and_with_the_teacher(kdbench_digits, kdbench_plots):
    table = kdbench_digits.tables[0]
    found = agreement_of(table)
    plot = likeness.plot(table, found, "likeness-1")
    said, count = texts(plot.svg), len(table.rows)
    pairs = [f"{100 * found.values[a][b]:.1f}" for a, b in combinations(range(count), 2)]
    theirs = [f"{100 * row.metrics['agreement'].mean:.1f}" for row in table.rows]
    assert sorted(one for one in said if re.fullmatch(r"\d+\.\d", one)) == sorted(pairs + theirs)
    assert sorted(likeness.ordered(found)) == list(range(count))
    keys = by_key(kdbench_plots)
    assert "likeness-1" in keys and "likeness-2" not in keys


def test_alike_methods_are_neighbours():
    alike = {frozenset("ac"), frozenset("bd")}
    values = tuple(
        tuple(1.0 if a == b else 0.95 if frozenset((a, b)) in alike else 0.5 for b in "abcd")
        for a in "abcd"
    )
    order = ["abcd"[i] for i in likeness.ordered(Agreement(tuple("abcd"), values))]
    assert {frozenset(order[:2]), frozenset(order[2:])} == alike


def test_hostile_names_are_inert_and_short(kdbench_toy):
    board = kdbench_toy(
        HOSTILE, curve=((0.5, {"accuracy": 0.4}), (1.0, {"accuracy": 0.6})),
        cost={
            "step_ms": 1.0, "parts_ms": {}, "images_per_second": 1.0, "overhead": 1.5,
            "overhead_interval": None, "rounds": 1, "teacher_passes": 1.0,
            "training_parameters": 0, "peak_memory_mb": 1.0,
        },
    )  # fmt: skip
    described = {name: About(family=name) for name in HOSTILE}
    spec = board.spec.model_copy(update={"described": described, "title": HOSTILE[0]})
    (table,) = board.tables
    board = dataclasses.replace(board, spec=spec, absent=((HOSTILE[0], "a:b"),))
    found = plots(board, Agreements((agreement_of(table),), {}))
    kinds = {plot.key.partition("-")[0] for plot in found}
    assert kinds == {"gains", "costs", "fidelity", "seeds", "curves", "likeness", "coverage"}
    for plot in found:
        root = ElementTree.fromstring(plot.svg)
        for element in root.iter():
            assert element.tag.removeprefix(SVG) in {
                "svg", "g", "path", "text", "tspan", "line", "rect", "defs", "linearGradient",
                "stop",
            }, plot.key  # fmt: skip
            assert float(root.get("width")) <= 960
            assert not any(name.startswith("on") or "href" in name for name in element.attrib)
            assert width(element.text or "") <= 700
        assert "<script" not in plot.svg and "onerror" not in re.sub(r">[^<]*<", "><", plot.svg)
        for text in (plot.svg, plot.title, plot.caption):
            assert text.isprintable() or all(c.isprintable() for c in text.replace("\n", ""))
        shown = set(texts(plot.svg))
        if plot.key.startswith(("gains", "seeds", "likeness")):
            assert HOSTILE[0] in shown and any(one.endswith("…") for one in shown)
        png(still(plot.svg), scale=0.5)


def test_one_seed_is_drawn_without_intervals_and_nothing_at_all_is_no_plot(kdbench_toy):
    board = kdbench_toy(seeds=(0,))
    found = by_key(plots(board))
    assert set(found) == {"gains-1", "fidelity-1", "seeds-1"}
    assert "no difference shown" in texts(found["gains-1"].svg)
    assert not any("±" in text for plot in found.values() for text in texts(plot.svg))
    (table,) = board.tables
    empty = dataclasses.replace(board, tables=(dataclasses.replace(table, rows=()),))
    assert plots(empty) == () and plots(build([])) == () and pictures(empty) == {}


def test_names_that_are_cut_to_the_same_text_keep_their_own_lines(kdbench_toy):
    long = "a_method_whose_name_does_not_want_to_end_before_it_differs_"
    (table,) = kdbench_toy((f"{long}1", f"{long}2")).tables
    said = texts(strips.plot(table, "seeds-1").svg)
    assert said.count(fitted(long + "1", 170)) == 2


def test_the_same_records_give_the_same_bytes_in_another_process(kdbench_root, kdbench_plots):
    code = (
        "import sys; from pathlib import Path; from kdbench.leaderboard import read; "
        "from kdbench.page.plots import plots; "
        "print(*(plot.svg for plot in plots(read(Path(sys.argv[1])))), sep=chr(10))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(kdbench_root / "leaderboards" / "digits")],
        capture_output=True, encoding="utf-8", check=True,
        env={**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "PYTHONUTF8": "1"},
    )  # fmt: skip
    kept = [plot.svg for plot in kdbench_plots if not plot.key.startswith("likeness")]
    assert done.stdout.splitlines() == kept


def test_all_colours_are_properties_that_light_and_dark_pages_define(kdbench_plots):
    light, dark = palette.style().split("@media (prefers-color-scheme: dark)")
    defined = [set(re.findall(r"(--kd-[a-z]+):#[0-9a-f]{6}[;}]", part)) for part in (light, dark)]
    assert defined == [{f"--kd-{one.name}" for one in palette.COLOURS}] * 2
    assert len({one.light for one in palette.COLOURS}) == len(palette.COLOURS)
    known = {one.variable for one in palette.COLOURS}
    for plot in kdbench_plots:
        squares = plot.key.startswith("likeness")  # the same in light and in dark
        for element in ElementTree.fromstring(plot.svg).iter():
            for name in ("fill", "stroke"):
                value = element.get(name, "none")
                fixed = squares and re.match(r"rgb|url|#fdfdfd|#111111", value)
                assert value in known | {"none", "transparent"} or fixed, (plot.key, value)
        assert palette.INK.variable in plot.svg


def test_plots_of_a_page_clash_in_no_id_and_say_what_they_are(kdbench_digits, kdbench_plots):
    table = kdbench_digits.tables[1]
    found = [*kdbench_plots, likeness.plot(table, agreement_of(table), "likeness-2")]
    ids = [i for plot in found for i in re.findall(r' id="([^"]+)"', plot.svg)]
    used = [i for plot in found for i in re.findall(r"url\(#([^)]+)\)", plot.svg)]
    assert len(ids) == len(set(ids)) == 2 and set(used) == set(ids)
    assert len({plot.key for plot in found}) == len({plot.title for plot in found}) == len(found)
    for plot in found:
        root = ElementTree.fromstring(plot.svg)
        assert root.get("role") == "img" and len(root.get("aria-label")) > 10
        assert re.fullmatch("[a-z0-9-]+", plot.key) and plot.caption.endswith(".")
        assert float(root.get("width")) <= 960


def test_all_plots_of_fifty_methods_are_small(kdbench_fashion):
    known = Agreements((agreement_of(kdbench_fashion.tables[0]),), {})
    found = plots(kdbench_fashion, known)
    assert sum(len(plot.svg.encode()) for plot in found) < 600_000


def test_pictures_stand_on_a_panel_of_their_own_without_properties(kdbench_digits):
    found = pictures(kdbench_digits)
    assert set(found) == {
        f"{kind}-{number}.{suffix}"
        for kind in ("gains", "costs") for number in (1, 2) for suffix in ("svg", "png")
    }  # fmt: skip
    for name, content in found.items():
        if name.endswith(".png"):
            assert content.startswith(b"\x89PNG") and len(content) < 100_000
            continue
        root = ElementTree.fromstring(content)
        assert root[0].get("fill") == "#ffffff" and root[0].get("width") == root.get("width")
        assert b"var(" not in content
        heading = kdbench_digits.tables[int(name[6]) - 1].heading
        assert heading in root[1].text


def test_a_method_is_of_its_family_and_a_sum_of_that_of_its_members(kdbench_digits):
    rows = {row.name: row for row in kdbench_digits.tables[0].rows}
    spec = kdbench_digits.spec
    assert (kind(rows["fitnet"], spec), kind(rows["kd"], spec)) == ("features", "baseline")

    def called(method):
        question = rows["fitnet"].question.model_copy(update={"method": method})
        return kind(dataclasses.replace(rows["fitnet"], question=question), spec)

    assert called("fitnet+at") == "features"
    assert called("fitnet+rco") == called("unheard_of") == "other"
    many = looks(("baseline", "other", *map(str, range(12))))
    assert len(set(many.values())) == len(many) == 14
    assert len({shape for _, shape in looks(("baseline", "a", "b", "c", "other")).values()}) == 5


def test_labels_stand_in_the_frame_and_never_on_each_other():
    points = [(f"method {i}", (100 + 3 * i, 100 + 2 * (i % 5))) for i in range(12)]
    found = placed(points, [place for _, place in points], [], Box(0, 0, 400, 300))
    boxes = [Box(one.left, one.y - 5.5, one.left + width(one.text), one.y + 5.5) for one in found]
    assert len(found) >= 8
    assert not any(a.meets(b) for a, b in combinations(boxes, 2))
    assert all(box.left >= 0 and box.right <= 400 and box.top >= 0 for box in boxes)
    assert spread([5.0, 5.0, 5.0], 10, 0, 22) == [2, 12, 22]


@pytest.mark.parametrize("log", [False, True])
def test_an_axis_leaves_out_only_what_would_squash_the_others(log):
    near = [mean([1.0 + i / 100, 1.02 + i / 100]) for i in range(12)]
    far = Estimate(mean=90.0, n=2, low=10.0, high=170.0)
    found = window([*near, far], [0.9], log=log)
    assert all(found.holds(one.mean) for one in near) and found.holds(0.9)
    assert not found.holds(far.mean) and found.clamp(far.mean) == found.high
    assert window([*near[:3], far], log=log).holds(far.mean)  # too few to tell
    wide = Estimate(mean=98.0, n=2, low=40.0, high=156.0)
    share = window([wide, mean([90.0, 91.0])], within=(0, 100))
    assert share.high == 100 < window([wide, mean([90.0, 91.0])]).high
    assert share.cuts(wide) and not share.cuts(mean([90.4, 90.6]))
    assert window([mean([0.5])]).low < 0.5 < window([mean([0.5])]).high


def test_the_critical_difference_diagram_names_every_method_and_bars_every_clique(kdbench_digits):
    found = SimpleNamespace(
        cells=8, ranks={"a": 1.25, "b": 2.0, HOSTILE[0]: 2.75, "d": 4.0}, difference=1.6584,
        p=0.00123, cliques=(("a", "b", HOSTILE[0]), (HOSTILE[0], "d")),
    )  # fmt: skip
    plot = ranks.plot(found, kdbench_digits, "ranks")
    assert {"a", "b", HOSTILE[0], "d", "CD 1.66"} <= set(texts(plot.svg))
    assert "of 4 methods" in plot.caption and "8 cells" in plot.caption
    assert "p = 0.0012" in plot.caption
    bars = {
        round(float(line.get("x2")), 1)
        for line in ElementTree.fromstring(plot.svg).iter(f"{SVG}line")
        if line.get("stroke") == palette.INK.variable and line.get("stroke-width") == "4"
    }
    unit = ranks.WIDTH / 3
    assert bars == {round(1.5 * unit, 1), round(1.25 * unit, 1)}


@pytest.mark.parametrize("package", ["altair", "vl_convert"])
def test_without_the_extra_the_error_says_what_to_install(kdbench_root, package):
    code = (
        f"import sys; sys.modules[{package!r}] = None; from pathlib import Path; "
        "from kdbench.errors import MissingExtra; from kdbench.leaderboard import read; "
        "from kdbench.page.plots import plots\n"
        "try: plots(read(Path(sys.argv[1])))\n"
        "except MissingExtra as error: print(error.what, error.next, 'torch' in sys.modules)"
    )
    folder = str(kdbench_root / "leaderboards" / "digits")
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True)
    assert done.stdout == f"plots need {package} pip install 'kdbench[page]' False\n", done.stderr
