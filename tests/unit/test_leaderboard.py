import csv
import io
import json
import random
import subprocess
import sys

import pytest
import scipy.stats

from kdbench.leaderboard import BoardSpec, build, check, record_id, unexplained, write
from kdbench.leaderboard.text import figures, fixed, markdown, plain, spreadsheet
from kdbench.record import (
    Card,
    Cost,
    Deployed,
    Environment,
    Evaluation,
    Failure,
    Fingerprints,
    Origin,
    Question,
    Record,
    Start,
    TeacherProtocol,
    TrainingProtocol,
)
from kdbench.statistics import contrasts

ACCURACY = {"scratch": (0.80, 0.82, 0.81), "kd": (0.84, 0.85, 0.86), "dkd": (0.83, 0.86, 0.85)}
SPEC = BoardSpec(suite="toy", title="Toy", baselines=("scratch", "kd"))


def record(
    method="kd", seed=0, accuracy=0.85, *,
    quiz=0.0, status="ok", created="2026-01-01T00:00:00Z", **changes,
):  # fmt: skip
    """A record that says `accuracy`; `changes` reach protocol, question, cost or record by name."""
    protocol = TrainingProtocol(
        epochs=60, batch_size=32, learning_rate=0.05, budget=changes.pop("budget", 1.0)
    )
    trained = TeacherProtocol(
        **protocol.model_dump(), seed=changes.pop("teacher_seed", 0), **changes.pop("trained", {})
    )
    protocol = protocol.model_copy(update=changes.pop("protocol", {}))
    question = Question(
        dataset=changes.pop("dataset", "digits"), teacher=changes.pop("teacher_name", "resnet8"),
        student="resnet8[width=0.5]", method=method,
        hyperparameters=changes.pop("hyperparameters", {"alpha": 0.9}),
        teacher_protocol=trained, protocol=protocol, quiz=quiz, seed=seed,
        evaluation=Evaluation(**changes.pop("evaluation", {})),
    )  # fmt: skip
    here = {
        "python": "3.12", "torch": "2.11.0", "timm": "1.0.20", "kdbench": "0.1", "device": "cpu",
        "device_name": "a CPU", "capability": "AVX2", "threads": 1, "platform": "Linux x86_64",
    }  # fmt: skip
    cost = {
        "step_ms": 12.3, "parts_ms": {"student": 12.3}, "images_per_second": 2600.0,
        "overhead": 1.2, "overhead_interval": (1.1, 1.3), "rounds": 9, "teacher_passes": 1.0,
        "training_parameters": 0, "peak_memory_mb": 100.0,
    }  # fmt: skip
    filled = {
        "rows": 180 if quiz else 200, "quality": {"accuracy": accuracy, "ece": 0.05, "nll": 0.4},
        "fidelity": {
            "test": {"agreement": 0.9, "kl": 0.125},
            "transfer": {"agreement": 0.95, "kl": 0.05},
        },
        "teacher": Card(
            weights="ab" * 32, parameters=78042, multiply_adds=1_234_567,
            quality={"accuracy": 0.9694},
        ),
        "deployed": Deployed(
            network="resnet8", options={"width": 0.5}, weights="cd" * 32, parameters=19_770,
            multiply_adds=400_000, latency_ms=0.512, throughput=9876.7,
        ),
        "cost": Cost(**cost | changes.pop("cost", {})),
    }  # fmt: skip
    prints = Fingerprints(question=question.fingerprint, code="c" * 64, environment="e" * 64)
    return Record(
        status=status, question=question, suite="toy", fingerprints=prints,
        origin=Origin(distribution="kdbench", version="0.1"),
        settings=changes.pop("settings", "paper"), created=created,
        environment=Environment(**here | changes.pop("environment", {})),
        **(filled if status == "ok" else {}) | changes,
    )  # fmt: skip


def records(accuracy=ACCURACY, **changes):
    return [
        record(name, seed, value, **changes)
        for name, values in accuracy.items()
        for seed, value in enumerate(values)
    ]


def only(board):
    (table,) = board.tables
    return table


def named(table):
    return {row.name: row for row in table.rows}


def test_rows_are_sorted_by_accuracy_with_means_t_intervals_and_paired_gains():
    table = only(build(records(), SPEC))
    assert [row.name for row in table.rows] == ["kd", "dkd", "scratch"]
    dkd = named(table)["dkd"]
    half = scipy.stats.t.ppf(0.975, 2) * scipy.stats.sem(ACCURACY["dkd"])
    assert dkd.metrics["accuracy"].mean == pytest.approx(0.84667, abs=1e-5)
    assert dkd.metrics["accuracy"].half == pytest.approx(half)
    differences = [0.03, 0.04, 0.04]
    assert dkd.gains["scratch"].mean == pytest.approx(sum(differences) / 3)
    assert dkd.gains["scratch"].half == pytest.approx(
        scipy.stats.t.ppf(0.975, 2) * scipy.stats.sem(differences)
    )
    assert set(named(table)["scratch"].gains) == {"kd"}


def test_gains_over_a_baseline_are_judged_together_and_what_is_open_is_named():
    board = build(records(), SPEC)
    rows = named(only(board))
    family = {name: row.gains["scratch"] for name, row in rows.items() if "scratch" in row.gains}
    assert {name: rows[name].contrasts["scratch"] for name in family} == contrasts(family)
    kd, dkd = rows["kd"].contrasts["scratch"], rows["dkd"].contrasts["scratch"]
    assert kd.differs or dkd.differs
    text, flat = board.markdown(), " ".join(board.markdown().split())
    for name, row in rows.items():
        for baseline, one in row.contrasts.items():
            shown = f"{100 * one.difference.mean:+.2f} ± {100 * one.difference.half:.2f}"
            assert (f"**{shown}**" in text) == one.differs
            told = f"Not told from {baseline}," in flat and f"{name} ({one.more})" in flat
            assert told == (not one.differs)
    line = next(csv.DictReader(io.StringIO(board.csv())))
    assert float(line["gain_over_scratch_p_holm"]) == pytest.approx(kd.adjusted)
    data = json.loads(board.json())["tables"][0]["rows"][0]["gains"]["scratch"]
    assert (data["p"], data["p_holm"]) == pytest.approx((kd.p, kd.adjusted))
    assert (data["differs"], data["more_seeds"]) == (kd.differs, kd.more)


def grids(text):
    """Rows by method of each table in Markdown, by the heading above it, cells by column."""
    found, heading = {}, ""
    for block in text.split("\n\n"):
        heading = block.lstrip("# ") if block.startswith("#") else heading
        if block.startswith("|"):
            cells = [
                [cell.strip() for cell in line.strip("|").split(" | ")]
                for line in block.splitlines()
            ]
            found[heading] = {row[0]: dict(zip(cells[0], row, strict=True)) for row in cells[2:]}
    return found


def test_markdown_says_percent_points_and_intervals():
    text = build(records(), SPEC).markdown()
    accuracy, fidelity, cost = grids(text).values()
    assert accuracy["dkd"] == {
        "Method": "dkd", "Accuracy %": "84.67 ± 3.79", "Rank": "1 to 2", "Group": "a",
        "Contender": "yes", "Gain over scratch": "**+3.67 ± 1.43**",
        "Gain over kd": "-0.33 ± 2.87", "Gap closed %": "23", "n": "3", "Settings": "paper",
    }  # fmt: skip
    assert fidelity["dkd"] == {
        "Method": "dkd", "Agreement %": "90.00 (identical)", "KL": "0.1250 (identical)",
        "Transfer agreement %": "95.00 (identical)", "Transfer KL": "0.0500 (identical)",
        "NLL": "0.400 (identical)", "ECE": "0.0500 (identical)", "n": "3",
    }  # fmt: skip
    assert cost["dkd"] == {
        "Method": "dkd", "Overhead ×": "1.20 (identical)", "Step ms": "12.3", "Images/s": "2,600",
        "Teacher passes": "1", "Extra parameters": "0", "Peak MiB": "100", "Latency ms": "0.512",
        "Throughput /s": "9,877", "Parameters": "19,770", "n": "3",
    }  # fmt: skip
    assert "| **kd** " in text and "| **scratch** " in text
    assert (
        "accuracy 96.94 %, 78,042 parameters, 1.23 M multiply-adds, weights abababababab "
        "(one teacher for all seeds)" in text
    )
    assert "200 training rows; measured on the test split; seeds 0 to 2; protocol" in text
    assert (
        "60 epochs of batch 32, SGD with momentum 0.9, weight decay 0, learning rate 0.05 "
        "falling along a cosine" in text
    )
    machine = "a CPU (cpu, AVX2), 1 thread, Linux x86\\_64, torch 2.11.0"
    assert machine in text.replace("x86_64", "x86\\_64")


def test_every_line_of_a_table_has_as_many_cells_as_its_header():
    nasty = records({"a|b": (0.5, 0.6), "`c`": (0.4, 0.3)} | {"scratch": (0.2, 0.1)})
    lines = [line for line in build(nasty, SPEC).markdown().splitlines() if line.startswith("|")]
    tables = [lines[at : at + 5] for at in (0, 5, 10)]
    assert len(lines) == 15
    for table in tables:
        assert len({line.replace("\\|", "").count("|") for line in table}) == 1


def test_the_same_records_give_the_same_bytes_in_any_order_locale_and_time_zone(tmp_path):
    many = (
        records()
        + records({"scratch": (0.7, 0.8), "kd": (0.8, 0.9)}, quiz=0.1)
        + [record("at", 0, status="oom")]
    )
    shuffled = many * 2
    random.Random(0).shuffle(shuffled)
    one, two = build(many, SPEC), build(shuffled, SPEC)
    for text in ("markdown", "csv", "json", "tex", "console"):
        assert getattr(one, text)() == getattr(two, text)()
    (tmp_path / "records.json").write_text(
        json.dumps([item.model_dump(mode="json") for item in many]), "utf-8"
    )
    code = (
        "import json, locale, pathlib, sys\n"
        "from kdbench.leaderboard import *\n"
        "from kdbench.record import Record\n"
        "locale.setlocale(locale.LC_ALL, '')\n"
        "items = json.loads(pathlib.Path(sys.argv[1]).read_text('utf-8'))\n"
        "spec = BoardSpec(suite='toy', title='Toy', baselines=('scratch', 'kd'))\n"
        "board = build([Record.model_validate(item) for item in items], spec)\n"
        "assert 'torch' not in sys.modules and 'kdbench.registry' not in sys.modules\n"
        "assert not check(board, pathlib.Path(sys.argv[2]))\n"
    )
    write(one, tmp_path / "board")
    environment = {
        "LC_ALL": "C",
        "TZ": "Asia/Kathmandu",
        "PYTHONPATH": ":".join(sys.path),
        "PYTHONHASHSEED": "7",
    }
    places = [str(tmp_path / "records.json"), str(tmp_path / "board")]
    arguments = [sys.executable, "-c", code, *places]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_each_board_is_in_its_own_order_and_shows_no_column_that_no_row_has():
    agreement = {"scratch": 0.99, "kd": 0.5, "dkd": 0.7}
    overhead = {"scratch": 3.0, "kd": 1.0, "dkd": 2.0}
    known = [
        record(
            name, seed, value, fidelity={"test": {"agreement": agreement[name]}},
            cost={"overhead": overhead[name]}, quality={"accuracy": value},
        )
        for name, values in ACCURACY.items() for seed, value in enumerate(values)
    ]  # fmt: skip
    text = build(known, SPEC).markdown()
    accuracy, fidelity, cost = grids(text).values()
    bare = [one.model_copy(update={"cost": None, "deployed": None}) for one in known]
    assert list(grids(build(bare, SPEC).markdown())) == ["Accuracy", "Fidelity"]
    assert list(accuracy) == ["**kd**", "dkd", "**scratch**"]
    assert list(fidelity) == ["**scratch**", "dkd", "**kd**"]
    assert list(cost) == ["**kd**", "dkd", "**scratch**"]
    assert list(fidelity["dkd"]) == ["Method", "Agreement %", "n"]
    assert [line for line in text.splitlines() if line.startswith("### ")] == [
        "### Accuracy", "### Fidelity", "### Cost",
    ]  # fmt: skip


ENDS = ("low", "high")


def test_zero_variance_is_identical_and_never_an_interval():
    board = build(records({"scratch": (0.5, 0.5, 0.5), "kd": (0.75, 0.75, 0.75)}), SPEC)
    line = next(csv.DictReader(io.StringIO(board.csv())))
    assert (line["accuracy"], line["gain_over_scratch"]) == ("0.75", "0.25")
    ends = [line[f"{name}_{end}"] for name in ("accuracy", "gain_over_scratch") for end in ENDS]
    assert ends == ["", "", "", ""]
    row = json.loads(board.json())["tables"][0]["rows"][0]
    for one in (row["metrics"]["accuracy"], row["gains"]["scratch"]):
        assert (one["identical"], one["low"], one["high"]) == (True, None, None)
    assert row["gains"]["scratch"]["p"] is None and not row["gains"]["scratch"]["differs"]
    for text in (board.markdown(), board.tex(), board.console()):
        assert "75.00 (identical)" in text or "75.00 (=)" in text
        assert "± 0.00" not in text and "$\\pm$ 0.00" not in text


def test_one_seed_has_no_p_value_rank_or_contender():
    board = build(records({"scratch": (0.8,), "kd": (0.85,)}), SPEC)
    line = next(csv.DictReader(io.StringIO(board.csv())))
    told = ("accuracy_low", "rank_low", "group", "contender", "gain_over_scratch_p_holm")
    assert [line[name] for name in told] == [""] * 5
    row = json.loads(board.json())["tables"][0]["rows"][0]
    assert (row["gains"]["scratch"]["p"], row["standing"]["contender"]) == (None, None)
    assert "| Contender |" not in " ".join(board.markdown().split("\n## ")[1].split())


BAD = {
    "stale": record("dkd", 1, 0.123),
    "part of the budget": record("dkd", 1, 0.123, budget=0.5),
    "failed": record("dkd", 1, status="failed", quality={"accuracy": 0.123}),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_record_that_does_not_count_feeds_no_mean_of_any_format(kind):
    asked = [(one, one.question) for one in records()]
    rest = [one for one, ask in asked if (ask.method, ask.seed) != ("dkd", 1)]
    stale = {record_id(BAD[kind])} if kind == "stale" else ()
    board = build([*rest, BAD[kind]], SPEC, stale=stale)
    table = only(board)
    assert set(named(table)) == {"scratch", "kd"}
    ((name, done),) = [(gap.name, gap.done) for gap in table.gaps]
    assert (name, done) == ("dkd", (0, 2))
    without = build([one for one in rest if one.question.method != "dkd"], SPEC)
    for one, other in zip(table.rows, only(without).rows, strict=True):
        assert (one.metrics, one.gains) == (other.metrics, other.gains)
        assert (one.contrasts, one.standing) == (other.contrasts, other.standing)
    full = board.markdown().partition("## Not the full protocol")[0]
    assert "12.3 %" not in full and "12.30" not in full
    assert board.csv() == without.csv()
    assert "dkd: 2 of 3 seeds; seed 1 " in full
    assert "not ranked: dkd has 2 of 3 seeds; seed 1 " in board.tex()


def test_every_row_of_a_table_and_every_mean_over_tables_has_the_same_seeds():
    wider = records({"scratch": (0.7, 0.8, 0.75, 0.7)}, dataset="other")
    wider += records({"kd": (0.8, 0.9, 0.85, 0.9), "dkd": (0.8, 0.9, 0.85)}, dataset="other")
    board = build(records() + wider, SPEC)
    for table in board.tables:
        for row in table.rows:
            assert row.seeds == table.seeds
            assert {tuple(by_seed) for by_seed in row.values.values()} == {table.seeds}
            assert {one.n for one in (*row.metrics.values(), *row.gains.values())} == {
                len(table.seeds)
            }
    ranked = {one.name: one for one in board.across}
    assert ranked["kd"].standing is not None
    assert ranked["dkd"].standing is None
    assert ranked["dkd"].missing == ("other: resnet8 teaches resnet8[width=0.5]",)
    assert "- dkd: not in other: resnet8 teaches resnet8" in board.markdown()


def many_cells(count):
    return [
        one
        for cell in range(count)
        for one in records(
            {
                "scratch": (0.80, 0.81), "kd": (0.85, 0.86),
                "dkd": (0.90, 0.91), "at": (0.70, 0.71 + 0.01 * cell),
            },
            dataset=f"d{cell}",
        )
    ]  # fmt: skip


def test_ranks_over_cells_are_there_from_six_cells_on_and_it_is_said_why_they_are_not():
    five, six = (build(many_cells(count), SPEC) for count in (5, 6))
    assert five.critical is None
    assert json.loads(five.json())["critical"] is None
    told = "No critical-difference diagram: it takes 3 methods without holes and 6 cells"
    assert told in five.markdown() and "this board has 5." in five.markdown()
    found = six.critical
    assert found.ranks == {"dkd": 1.0, "kd": 2.0, "scratch": 3.0, "at": 4.0}
    assert round(found.difference, 2) == 1.91
    assert found.cliques == (("dkd", "kd"), ("kd", "scratch"), ("scratch", "at"))
    data = json.loads(six.json())["critical"]
    assert data["ranks"][0] == {"name": "dkd", "rank": 1.0} and data["cells"] == 6
    text = six.markdown()
    assert "Not told apart: dkd, kd; kd, scratch; scratch, at." in text
    assert grids(text)["Over 6 pairs"]["dkd"]["Mean rank"] == "1.00"
    assert "Mean rank" not in five.markdown()


def test_baselines_that_run_again_beside_a_quiz_split_are_not_ranked_twice():
    twins = [
        one
        for cell in range(6)
        for one in records(
            {"scratch": (0.7, 0.71), "kd": (0.75, 0.76), "metadistil": (0.8, 0.81)},
            quiz=0.1, dataset=f"d{cell}",
        )
    ]  # fmt: skip
    found = build(many_cells(6) + twins, SPEC).critical
    assert set(found.ranks) == {
        "dkd", "kd", "scratch", "at", "metadistil (quiz split 0.1)",
    }  # fmt: skip


def test_one_changed_byte_fails_the_check_and_names_the_line(tmp_path):
    board = build(records(), SPEC)
    paths = write(board, tmp_path)
    names = sorted(path.name for path in paths)
    assert names == ["README.md", "leaderboard.csv", "leaderboard.json", "leaderboard.tex"]
    assert check(board, tmp_path) == []
    content = bytearray((tmp_path / "leaderboard.csv").read_bytes())
    content[-3] ^= 1
    (tmp_path / "leaderboard.csv").write_bytes(content)
    assert check(board, tmp_path) == [
        "leaderboard.csv differs from what the records give, first at line 4"
    ]
    (tmp_path / "README.md").unlink()
    (tmp_path / "leaderboard.tex").write_bytes(b"%" + (tmp_path / "leaderboard.tex").read_bytes())
    longer = (tmp_path / "leaderboard.json").read_bytes() + b"\n"
    (tmp_path / "leaderboard.json").write_bytes(longer)
    assert check(board, tmp_path) == [
        "README.md is missing",
        "leaderboard.csv differs from what the records give, first at line 4",
        "leaderboard.json differs from what the records give, one is cut short",
        "leaderboard.tex differs from what the records give, first at line 1",
    ]


def test_a_row_without_all_seeds_is_listed_with_its_holes_and_failures_and_not_ranked():
    failure = Failure(kind="RuntimeError", message="loss is\nNaN", where="step 12")
    some = [
        item
        for item in records()
        if (item.question.method, item.question.seed) not in {("dkd", 1), ("dkd", 2)}
    ]
    board = build([*some, record("dkd", 1, status="diverged", failure=failure)], SPEC)
    (gap,) = only(board).gaps
    assert set(named(only(board))) == {"scratch", "kd"}
    assert gap.done == (0,) and gap.missing == (
        (1, "diverged in step 12: loss is\nNaN"),
        (2, "no record"),
    )
    line = "- dkd: 1 of 3 seeds; seed 1 diverged in step 12: loss is NaN; seed 2 no record."
    assert line in board.markdown().splitlines()
    assert (
        "not ranked: dkd has 1 of 3 seeds; seed 1 diverged in step 12: loss is NaN"
        in board.console()
    )
    assert "dkd" not in board.csv()


def test_the_gap_closed_is_the_gain_as_a_share_of_the_teacher_s():
    board = build(records(), SPEC)
    rows = named(only(board))
    teacher = 0.9694  # of every record's card
    gain = rows["dkd"].gains["scratch"].mean
    share = gain / (teacher - rows["scratch"].metrics["accuracy"].mean)
    assert rows["dkd"].gap_closed == pytest.approx(share)
    assert rows["scratch"].gap_closed is None
    lines = {line["method"]: line for line in csv.DictReader(io.StringIO(board.csv()))}
    assert float(lines["dkd"]["gap_closed"]) == pytest.approx(share)
    assert lines["scratch"]["gap_closed"] == ""


def test_gains_over_a_baseline_with_holes_are_not_computed():
    asked = [(item, item.question) for item in records()]
    some = [item for item, ask in asked if (ask.method, ask.seed) != ("scratch", 1)]
    board = build(some, SPEC)
    assert all("scratch" not in row.gains for row in only(board).rows)
    assert set(named(only(board))["dkd"].gains) == {"kd"}


def test_expected_methods_pairs_and_seeds_that_were_never_tried_are_named():
    axes = {
        "datasets": ("digits",),
        "pairs": ("resnet8:resnet8[width=0.5]", "resnet8:resnet8[width=.25]"),
        "methods": ("scratch", "kd", "dkd", "at"),
        "seeds": (0, 1, 2, 3),
    }
    spec = SPEC.model_copy(update=axes)
    board = build(records(), spec)
    gaps = {gap.name: (gap.done, gap.missing) for gap in only(board).gaps}
    assert gaps["at"] == ((), tuple((seed, "no record") for seed in range(4)))
    assert gaps["kd"] == ((0, 1, 2), ((3, "no record"),))
    assert only(board).rows == ()
    assert board.absent == (("digits", "resnet8:resnet8[width=0.25]"),)
    assert "- digits: resnet8:resnet8\\[width=0.25\\]" in board.markdown()


def test_seeds_beyond_the_suites_do_not_enter_means():
    spec = SPEC.model_copy(update={"seeds": (0, 1)})
    table = only(build(records(), spec))
    assert named(table)["kd"].metrics["accuracy"].mean == pytest.approx(0.845)
    assert table.remarks == ("seeds 2 are not the suite's and are left out",)


def test_partial_trials_never_feed_the_full_board():
    board = build(records() + records({"scratch": (0.1,), "kd": (0.2,)}, budget=0.1), SPEC)
    assert board.csv() == build(records(), SPEC).csv()
    full, _, rest = board.markdown().partition("## Not the full protocol")
    assert "20.00" not in full and "| **kd** " in rest and "20.00" in rest
    assert "2 trials spent part of the budget and feed no figure above." in rest
    assert "only 10 % of the budget" in rest
    alone = build(records({"scratch": (0.1,), "kd": (0.2,)}, budget=0.1), SPEC)
    assert alone.tables == () and alone.csv().count("\n") == 1
    assert "not the full protocol, 10 % of the budget" in alone.console()


def test_other_protocols_evaluations_and_teachers_have_tables_of_their_own():
    validation = {"split": "validation", "validation_rows": 100}
    extra = [record("kd", 0, 0.1, evaluation=validation, fidelity={"validation": {"kl": 9.0}})]
    extra += [record("kd", 0, 0.2, teacher_name="resnet14"), record("kd", 0, 0.3, teacher_seed=1)]
    extra += [record("kd", 0, 0.4, dataset="other")]
    board = build(records() + extra, SPEC)
    assert len(board.tables) == 5
    assert sorted(len(table.rows) for table in board.tables) == [1, 1, 1, 1, 3]
    validated = next(
        table for table in board.tables if table.question.evaluation.split == "validation"
    )
    assert validated.rows[0].metrics["kl"].mean == 9.0


def test_rows_of_the_quiz_cohort_are_compared_with_the_baselines_of_their_kind():
    twins = records({"scratch": (0.70, 0.72, 0.71), "metadistil": (0.75, 0.75, 0.75)}, quiz=0.1)
    table = only(build(records() + twins, SPEC))
    rows = named(table)
    assert set(rows) == {"scratch", "kd", "dkd", "scratch (180 rows)", "metadistil (180 rows)"}
    assert rows["metadistil (180 rows)"].gains["scratch"].mean == pytest.approx(0.04)
    assert set(rows["metadistil (180 rows)"].gains) == {"scratch"}
    assert rows["scratch (180 rows)"].baseline == "scratch"
    assert "metadistil (180 rows)" in twins[3].label
    assert [gap.name for gap in table.gaps] == ["kd (quiz split 0.1)"]


def test_the_latest_ok_attempt_counts_and_answers_that_differ_are_named():
    later = record("kd", 0, 0.9, created="2026-02-01T00:00:00Z")
    failed = record("kd", 0, status="timeout", created="2026-03-01T00:00:00Z", attempt=3)
    table = only(build([*records(), later, failed], SPEC))
    assert named(table)["kd"].values["accuracy"][0] == 0.9
    told = "kd: seed 0 has 2 answers that differ (accuracy 0.84, 0.9); the latest counts"
    assert table.remarks == (told,)
    repeated = record("kd", 0, 0.84, created="2026-02-01T00:00:00Z")
    assert only(build([*records(), repeated], SPEC)).remarks == ()


def test_stale_records_are_left_out_and_named():
    known = records()
    stale = next(item for item in known if (item.question.method, item.question.seed) == ("dkd", 2))
    table = only(build(known, SPEC, stale={record_id(stale)}))
    assert [(gap.name, gap.missing) for gap in table.gaps] == [
        ("dkd", ((2, "stale, made by other code"),))
    ]
    assert table.remarks == ("dkd: seed 2: 1 stale record, made by other code, left out",)


def test_methods_that_differ_in_hyperparameters_only_have_rows_of_their_own():
    hot = [
        record("kd", seed, 0.9, hyperparameters={"alpha": 0.5}, settings="set by hand")
        for seed in range(3)
    ]
    rows = named(only(build(records() + hot, SPEC)))
    assert set(rows) == {"scratch", "dkd", "kd[alpha=0.5]", "kd[alpha=0.9]"}
    assert rows["kd[alpha=0.9]"].baseline == "kd" and not rows["kd[alpha=0.5]"].baseline
    assert rows["kd[alpha=0.5]"].gains["kd"].mean == pytest.approx(0.05)


def test_the_same_method_under_two_names_is_identical():
    gain = named(only(build(records({"kd": ACCURACY["kd"], "kd2": ACCURACY["kd"]}), SPEC)))[
        "kd2"
    ].gains["kd"]
    assert gain.identical and gain.mean == 0


def test_a_metric_that_some_seeds_lack_has_no_mean():
    known = records({"kd": (0.8, 0.9)})
    known[1] = known[1].model_copy(update={"quality": {"accuracy": 0.9}})
    assert set(only(build(known)).rows[0].metrics) == {
        "accuracy", "agreement", "kl", "transfer_agreement", "transfer_kl",
    }  # fmt: skip


def test_one_seed_has_no_interval_but_the_overhead_has_that_of_its_rounds():
    text = build(records({"scratch": (0.8,), "kd": (0.85,)}), SPEC).markdown()
    assert "85.00 " in text and "±" not in text.split("| Method")[1]
    assert "1.20 [1.10, 1.30]" in text


def test_overheads_of_several_trials_give_a_geometric_mean_with_interval():
    known = [
        record("kd", seed, cost={"overhead": over}) for seed, over in enumerate((1.0, 2.0, 4.0))
    ]
    overhead = only(build(known)).rows[0].expense.overhead
    assert overhead.mean == pytest.approx(2) and overhead.low < 2 < overhead.high


def test_times_from_different_hardware_are_never_averaged_and_told_apart():
    fast = {"device_name": "another CPU"}
    known = records({"scratch": (0.8, 0.8)}) + records({"kd": (0.9, 0.9)}, environment=fast)
    known += [record("at", 0, 0.85), record("at", 1, 0.85, environment=fast)]
    table = only(build(known, SPEC))
    rows = named(table)
    assert (
        rows["at"].expense is None
        and rows["at"].latency_ms is None
        and len(rows["at"].remarks) == 1
    )
    assert table.hardware[rows["kd"].expense.hardware].startswith("another CPU")
    text = build(known, SPEC).markdown()
    assert "12.3 A" in text and "12.3 B" in text and "Hardware B: another CPU" in text


def test_times_that_are_not_valid_are_not_shown_and_the_reason_is():
    row = only(
        build(records({"kd": (0.8,)}, cost={"valid": False, "why_not": "the machine was busy"}))
    ).rows[0]
    assert row.expense is None
    assert row.remarks == ("times are not comparable: the machine was busy",)


LOUD = {"valid": False, "why_not": "foreign load in 9 of 12 rounds"}
SPLIT = {"warm_ms": 6.5, "amortised_ms": 7.5, "cells": 8}


def test_an_invalid_time_feeds_neither_medians_nor_overheads_and_its_row_says_so():
    overs = {
        0: {"overhead": 1.0},
        1: {"overhead": 4.0},
        2: {"overhead": 99.0, "step_ms": 1e6} | LOUD,
    }
    row = only(build([record("kd", seed, cost=one) for seed, one in overs.items()])).rows[0]
    assert row.expense.overhead.mean == pytest.approx(2) and row.expense.overhead.n == 2
    assert row.expense.step_ms == 12.3
    (remark,) = row.remarks
    assert "of 2 of 3 trials" in remark and "foreign load in 9 of 12 rounds" in remark


def test_a_ratio_in_processor_time_stands_where_times_do_not():
    loud = LOUD | {"cpu_ms": 9.0, "cpu_overhead": 1.5}
    board = build(records({"scratch": (0.8,)}) + records({"kd": (0.8,)}, cost=loud), SPEC)
    row = named(only(board))["kd"]
    assert row.expense is None
    assert (row.cpu_ms, row.cpu_overhead.mean) == (9.0, 1.5)
    text = board.markdown()
    assert "| CPU overhead × |" in " ".join(text.split()) and "in processor time" in text
    assert "times are not comparable: foreign load in 9 of 12 rounds" in text
    line = next(one for one in csv.DictReader(io.StringIO(board.csv())) if one["row"] == "kd")
    assert (line["cpu_overhead"], line["cpu_ms"], line["step_ms"]) == ("1.5", "9", "")
    rows = json.loads(board.json())["tables"][0]["rows"]
    assert [row["cpu"] and row["cpu"]["overhead"]["mean"] for row in rows] == [1.5, None]


def test_warm_and_amortised_steps_are_printed_together_or_not_at_all():
    assert "Warm" not in build(records()).markdown()
    both = build(records({"kd": (0.8, 0.9)}, cost=SPLIT)).markdown()
    assert "| Warm ms | Amortised ms |" in " ".join(both.split())
    assert "| 6.50 | 7.50 |" in " ".join(both.split()) and "live teacher" in both
    for lacking in ("warm_ms", "amortised_ms"):
        half = build(records({"kd": (0.8, 0.9)}, cost=SPLIT | {lacking: None})).markdown()
        assert "Warm" not in half and "Amortised" not in half


def test_rounds_that_others_disturbed_are_counted_in_the_caption():
    assert "rounds" not in build(records()).markdown()
    assert "nobody else used" in build(records(cost={"discarded": 0})).markdown()
    disturbed = [record("kd", 0, cost={"discarded": 3}), record("kd", 1, cost={"discarded": 2})]
    board = build(disturbed)
    assert "up to 5 rounds of a method left out" in board.markdown()
    (line,) = csv.DictReader(io.StringIO(board.csv()))
    assert line["discarded"] == "5"
    assert json.loads(board.json())["tables"][0]["rows"][0]["cost"]["discarded"] == 5


def test_where_a_student_starts_and_how_its_teacher_learnt_is_in_the_caption():
    plain = build(records()).markdown()
    assert not any(word in plain for word in ("weights and", "without a teacher by", "as it was"))
    start = Start(share=0.375, of="initial", statistics="estimated")
    trained = {"alone": "label_smoothing[epsilon=0.1]", "anchor": 0.5}
    text = build(records(protocol={"start": start}, trained=trained)).markdown()
    said = "from 37.5 % of the teacher's initial weights and statistics estimated anew"
    assert text.count(said) == text.count("initial weights") == 1
    assert text.count("; without a teacher by label") == text.count("label_sm") == 1
    assert text.count("; teaches as it was after 50 % of it") == text.count("50 % of it") == 1


def test_a_teacher_that_was_trained_twice_is_told():
    other = Card(weights="ef" * 32, parameters=1, multiply_adds=1, quality={})
    known = [*records({"scratch": (0.8, 0.8)}), record("kd", 0), record("kd", 1, teacher=other)]
    assert "2 trainings of the same teacher" in only(build(known, SPEC)).remarks[0]
    apart = [
        record("kd", 0, teacher_seed="trial"),
        record("kd", 1, teacher=other, teacher_seed="trial"),
    ]
    assert only(build(apart)).remarks == ()


def test_a_row_more_than_five_points_below_the_first_baseline_needs_a_note(tmp_path):
    known = records({"scratch": (0.80, 0.80), "fsp": (0.70, 0.70), "vid": (0.75, 0.75)})
    board = build(known, SPEC)
    told = (
        "fsp is 10.00 points below scratch (digits: resnet8 teaches resnet8[width=0.5]) "
        "and no note explains it"
    )
    assert unexplained(board) == [told]
    write(board, tmp_path)
    assert check(board, tmp_path) == [told]
    noted = build(known, SPEC.model_copy(update={"notes": {"fsp": "it never sees | the labels"}}))
    assert unexplained(noted) == []
    assert "- fsp: it never sees \\| the labels" in noted.markdown()


def test_names_cannot_break_out_of_markdown():
    text = build(
        records({"<img src=x>|`a`[b](c)": (0.5,)}), BoardSpec(title="<script>", about="one\n# two")
    ).markdown()
    assert text.startswith("# &lt;script&gt;\n\none \\# two\n")
    assert "&lt;img src=x&gt;\\|\\`a\\`\\[b\\](c)" in text and "<" not in text


def test_csv_holds_fractions_and_no_formula():
    known = records({"=cmd()": (0.5,), "kd": (0.85,)}, settings="-1+2")
    lines = list(csv.DictReader(io.StringIO(build(known, SPEC).csv())))
    assert [line["row"] for line in lines] == ["kd", "'=cmd()"]
    assert lines[0]["settings"] == "'-1+2"
    assert lines[0]["accuracy"] == "0.85" and lines[0]["accuracy_low"] == ""
    assert lines[1]["gain_over_kd"] == "-0.35"  # a number stays one
    assert lines[0]["transfer_agreement"] == "0.95" and lines[0]["step_ms"] == "12.3"


def test_the_data_frame_has_the_rows_and_columns_of_the_csv():
    board = build(records(), SPEC)
    frame = board.frame()
    assert list(frame["row"]) == ["kd", "dkd", "scratch"]
    assert ",".join(frame.columns) == board.csv().splitlines()[0]


def test_json_holds_every_seed_and_estimate():
    data = json.loads(build(records(), SPEC).json())
    (table,) = data["tables"]
    dkd = next(row for row in table["rows"] if row["name"] == "dkd")
    assert dkd["values"]["accuracy"] == {"0": 0.83, "1": 0.86, "2": 0.85}
    assert dkd["gains"]["scratch"]["mean"] == pytest.approx(0.0366667, abs=1e-6)
    assert dkd["cost"]["overhead"] == {
        "mean": 1.2, "low": None, "high": None, "n": 3, "identical": True,
    }  # fmt: skip
    assert dkd["cost"]["step_ms"] == 12.3 and dkd["metrics"]["transfer_kl"]["mean"] == 0.05
    assert table["teachers"][0]["weights"] == "ab" * 32 and table["protocol"]["epochs"] == 60


def test_the_console_board_fits_its_width_and_cuts_names_not_numbers():
    known = records(ACCURACY | {"a_method_with_a_very_long_name_" * 4: (0.5, 0.5, 0.6)})
    text = build(
        [
            *known,
            record(
                "at",
                0,
                status="failed",
                failure=Failure(kind="E", message="x " * 200, where="init"),
            ),
        ],
        SPEC,
    )
    lines = text.console().splitlines()
    assert max(map(len, lines)) <= 110
    assert any(
        "kd *" in line and "85.00 ± 2.48" in line and "+4.00 ± 2.48" in line for line in lines
    )
    assert any("53.33 ± 14.34" in line and "…" in line for line in lines)


def test_no_record_gives_an_empty_board():
    board = build([], SPEC)
    assert "No trial of the full protocol yet." in board.markdown()
    assert board.console() == "no trial yet\n"
    assert json.loads(board.json())["tables"] == []


PAIR = "resnet8:resnet8[width=0.5]"
TUNED = {"hyperparameters": {"alpha": 0.9, "beta": 2.0}, "settings": "tuned per pair"}
AXES = {
    "datasets": ("digits",), "pairs": (PAIR,), "methods": ("scratch", "kd", "dkd"),
    "seeds": (0, 1, 2),
}  # fmt: skip


def by_pair(*entries):
    return SPEC.model_copy(update=AXES | {"by_pair": {PAIR: entries}})


def with_defaults(values=(0.90, 0.91, 0.92), **changes):
    """Records of the three methods, dkd with beta = 8 by default, and of dkd tuned to beta = 2."""
    plain = {"hyperparameters": {"alpha": 0.9, "beta": 8.0}}
    known = records({key: ACCURACY[key] for key in ("scratch", "kd")})
    known += records({"dkd": ACCURACY["dkd"]}, **plain)
    return known + records({"dkd": values}, **TUNED | changes)


def test_what_is_tuned_per_pair_has_a_table_of_its_own_with_the_same_baselines():
    board = build(with_defaults(), SPEC)
    defaults, tuned = board.tables
    assert (defaults.part, tuned.part) == ("defaults", "tuned per pair")
    assert set(named(defaults)) == {"scratch", "kd", "dkd"}
    assert [row.name for row in tuned.rows] == ["dkd[beta=2.0]", "kd", "scratch"]
    gains = [0.90 - 0.84, 0.91 - 0.85, 0.92 - 0.86]
    assert named(tuned)["dkd[beta=2.0]"].gains["kd"].mean == pytest.approx(sum(gains) / 3)
    there, here = named(defaults)["kd"], named(tuned)["kd"]
    assert (here.metrics, here.gains) == (there.metrics, there.gains)
    alone = only(build([one for one in with_defaults() if one.settings == "paper"], SPEC))
    assert alone.rows == defaults.rows and alone.gaps == defaults.gaps
    assert alone.heading == "digits: resnet8 teaches resnet8[width=0.5]"


def test_every_format_keeps_the_two_tables_apart():
    board = build(with_defaults(), SPEC)
    first, second = (f"## digits: resnet8 teaches resnet8\\[width=0.5\\], {part}" for part in (
        "defaults", "tuned per pair"))  # fmt: skip
    text = board.markdown()
    assert text.index(first) < text.index(second) < text.index("| dkd\\[beta=2.0\\]")
    assert text.index("the baselines are those of the defaults") > text.index(second)
    lines = [(line["table"], line["row"]) for line in csv.DictReader(io.StringIO(board.csv()))]
    assert lines == [
        ("defaults", "kd"), ("defaults", "dkd"), ("defaults", "scratch"),
        ("tuned per pair", "dkd[beta=2.0]"), ("tuned per pair", "kd"),
        ("tuned per pair", "scratch"),
    ]  # fmt: skip
    parts = [table["table"] for table in json.loads(board.json())["tables"]]
    assert parts == ["defaults", "tuned per pair"]
    console = board.console()
    assert console.index("width=0.5], defaults") < console.index("width=0.5], tuned per pair")
    assert "tuned per pair" not in build(records(), SPEC).markdown()


def test_seeds_of_tuned_rows_are_no_matter_of_the_defaults():
    defaults, tuned = build(with_defaults((0.9, 0.9, 0.9, 0.9)), SPEC).tables
    assert defaults.seeds == (0, 1, 2) and not defaults.gaps
    assert tuned.seeds == (0, 1, 2, 3) and [row.name for row in tuned.rows] == ["dkd[beta=2.0]"]
    assert [gap.name for gap in tuned.gaps] == ["kd", "scratch"]


def test_a_baseline_tuned_per_pair_is_none():
    known = records() + records({"kd": (0.9, 0.9, 0.9)}, **TUNED)
    defaults, tuned = build(known, SPEC).tables
    assert {row.name: row.baseline for row in tuned.rows} == {
        "kd[beta=2.0]": "", "kd": "kd", "scratch": "scratch",
    }  # fmt: skip
    assert tuned.rows[0].gains["kd"].mean == pytest.approx(0.05)
    assert set(named(defaults)) == {"kd", "dkd", "scratch"}
    without = [one for one in known if (one.question.method, one.settings) != ("kd", "paper")]
    assert all("kd" not in row.gains for table in build(without, SPEC).tables for row in table.rows)


def test_what_is_expected_for_the_pair_and_was_never_tried_is_a_hole_of_its_own_table():
    board = build(with_defaults(), by_pair("dkd[beta=2.0]", "ttm[gamma=0.1]"))
    defaults, tuned = board.tables
    assert not defaults.gaps
    assert [(gap.name, gap.done) for gap in tuned.gaps] == [("ttm[gamma=0.1]", ())]
    plain = [one for one in with_defaults() if one.settings == "paper"]
    _, tuned = build(plain, by_pair("dkd[beta=2.0]")).tables
    assert [gap.name for gap in tuned.gaps] == ["dkd[beta=2.0]"]
    assert {row.name for row in tuned.rows} == {"kd", "scratch"}
    short = build([record("kd", 0, budget=0.1)], by_pair("dkd[beta=2.0]"))
    assert [table.gaps for table in short.partial] == [()]
    lone = build(records({"dkd": (0.9, 0.9, 0.9)}, **TUNED), by_pair("dkd[beta=2.0]"))
    assert [gap.name for gap in lone.tables[0].gaps] == ["dkd", "kd", "scratch"]


def test_a_setting_that_is_the_default_is_told_where_it_would_be_looked_for():
    board = build(with_defaults(), by_pair("dkd[beta=2.0]", "kd[alpha=0.9]"))
    defaults, tuned = board.tables
    told = "kd has by default what is tuned for this pair: see the defaults"
    assert tuned.remarks == (told,) and not tuned.gaps and not defaults.remarks
    plain = [one for one in with_defaults() if one.settings == "paper"]
    assert len(build(plain, by_pair("kd[alpha=0.9]")).tables) == 1


def test_what_a_caller_asked_for_first_counts_where_the_suite_tunes_to_just_that():
    known = with_defaults(settings="set by hand")
    _, tuned = build(known, by_pair("dkd[beta=2.0]")).tables
    assert {row.name for row in tuned.rows} == {"dkd[beta=2.0]", "kd", "scratch"}
    other = build(known, by_pair("dkd[beta=3.0]")).tables
    assert set(named(other[0])) == {"dkd[beta=2.0]", "dkd[beta=8.0]", "kd", "scratch"}
    assert [gap.name for gap in other[1].gaps] == ["dkd[beta=3.0]"]
    also = {"hyperparameters": {"alpha": 0.1, "beta": 2.0}, "settings": "set by hand"}
    more = build(known + records({"dkd": (0.1, 0.1, 0.1)}, **also), by_pair("dkd[beta=2.0]"))
    assert "dkd[alpha=0.1,beta=2.0]" in named(more.tables[0])


def test_a_tuned_row_of_a_quiz_split_is_compared_with_baselines_on_its_rows():
    twins = records({"scratch": (0.7, 0.7, 0.7), "kd": (0.71, 0.71, 0.71)}, quiz=0.1)
    tuned = records({"metadistil": (0.75, 0.75, 0.75)}, quiz=0.1, **TUNED)
    table = build([*records(), *twins, *tuned], SPEC).tables[1]
    assert set(named(table)) == {f"{n} (180 rows)" for n in ("scratch", "kd", "metadistil")}
    assert named(table)["metadistil (180 rows)"].gains["scratch"].mean == pytest.approx(0.05)


def test_baselines_shown_twice_are_counted_and_explained_once():
    known = records({"scratch": (0.9,), "kd": (0.8,)}) + records({"dkd": (0.8,)}, **TUNED)
    assert [line.partition(" is ")[0] for line in unexplained(build(known, SPEC))] == ["kd", "dkd"]
    part = [record("kd", 0, budget=0.5), record("dkd", 0, budget=0.5, **TUNED)]
    assert "2 trials spent part of the budget" in build(part, SPEC).markdown()


def test_only_stale_records_of_a_tuned_row_are_a_gap_of_its_own_table():
    known = with_defaults()
    stale = {record_id(one) for one in known if one.settings == "tuned per pair"}
    defaults, tuned = build(known, SPEC.model_copy(update=AXES), stale=stale).tables
    assert not defaults.gaps
    assert [gap.name for gap in tuned.gaps] == ["dkd[beta=2.0]"]


def test_two_tables_are_the_same_bytes_in_any_order(tmp_path):
    spec = by_pair("dkd[beta=2.0]", "ttm[gamma=0.1]", "kd[alpha=0.9]")
    known = with_defaults()
    board = build(known, spec)
    write(board, tmp_path)
    assert check(build(known[::-1], spec), tmp_path) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (fixed(-0.0001, 2, sign=True), "+0.00"),
        (fixed(1234567.891, 1), "1,234,567.9"),
        (figures(0), "0"),
        (figures(0.00999999), "0.0100"),
        (figures(999.96), "1,000"),
        (plain("x" * 10, 5), "xxxx…"),
        (markdown("__init__ a_b é"), "\\_\\_init\\_\\_ a_b &#233;"),
        (spreadsheet("@x"), "'@x"),
        (spreadsheet("\t=x"), "'=x"),
    ],
)
def test_text_is_written_one_way(text, expected):
    assert text == expected
