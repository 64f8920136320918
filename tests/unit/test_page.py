import base64
import dataclasses
import hashlib
import html.parser
import json
import random
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kdbench.errors import MissingExtra
from kdbench.leaderboard import About, Board, BoardSpec, build, pictured, read
from kdbench.page import NAME, Plot, bundle, check, digest, render, write
from kdbench.page.across import across
from kdbench.page.answer import answer
from kdbench.page.papers import link
from kdbench.page.trials import command
from kdbench.page.verdict import p_value, verdict
from kdbench.record import Card, Deployed, Failure, Record, Store

ACCURACY = {
    "scratch": (0.80, 0.82, 0.81, 0.79), "kd": (0.84, 0.85, 0.86, 0.84),
    "dist": (0.90, 0.91, 0.925, 0.905), "at": (0.70, 0.712, 0.72, 0.70),
    "dkd": (0.85, 0.83, 0.88, 0.82),
}  # fmt: skip
SPEC = BoardSpec(
    suite="toy", title="Toy board", about="What it is about.", baselines=("scratch", "kd"),
    notes={"at": "its weight was found elsewhere"},
    described={"dist": About(
        summary="A summary.", family="logits", authors="Tao Huang and Shan You",
        title="From A Stronger Teacher", year=2022, venue="NeurIPS", arxiv="2205.10536",
    )},
)  # fmt: skip
HOSTILE = (
    "</script><script>alert(1)</script><!--<script>--><img src=x onerror=alert(2)></style></title>"
    "\"'><svg onload=alert(3)> {{ 7*7 }} {% x %} `touch x` "
    "$(touch x); rm x & \u2028\u2029\u202e\x1b[0m"
)


@pytest.fixture
def kdbench_trial(kdbench_record: Any) -> Any:
    """`kdbench_trial(method, seed, accuracy)`: a whole record; `changes` reach it by name."""

    def made(method: str, seed: int, accuracy: float, **changes: Any) -> Record:
        first = kdbench_record().question
        asked = {key: changes.pop(key) for key in set(changes) & set(type(first).model_fields)}
        question = first.model_copy(update={"method": method, "seed": seed, **asked})
        cost = {
            "step_ms": 12.3, "parts_ms": {"student": 12.3}, "images_per_second": 2600.0,
            "overhead": 1.2 + seed / 100, "overhead_interval": None, "rounds": 9,
            "teacher_passes": 1.0, "training_parameters": 0, "peak_memory_mb": 100.0,
        }  # fmt: skip
        filled = {
            "rows": 200, "quality": {"accuracy": accuracy, "ece": 0.05, "nll": 0.4 + seed / 7},
            "fidelity": {"test": {"agreement": 0.9, "kl": 0.1}, "transfer": {"agreement": 0.95}},
            "losses": {"hard": 0.125, "soft": 0.25}, "cost": cost,
            "deployed": Deployed(
                network="resnet8", options={}, weights="cd" * 32, parameters=19_770,
                multiply_adds=400_000, latency_ms=0.512, throughput=9876.7,
            ),
        }  # fmt: skip
        return kdbench_record(question=question, **filled | changes)

    return made


@pytest.fixture
def kdbench_trials(kdbench_trial: Any) -> Any:
    """`kdbench_trials()`: those of `ACCURACY`."""

    def made(accuracy: Any = None, **changes: Any) -> list[Record]:
        return [
            kdbench_trial(name, seed, value, **changes)
            for name, values in (accuracy or ACCURACY).items()
            for seed, value in enumerate(values)
        ]

    return made


class Read(html.parser.HTMLParser):
    """A page as a browser that runs no script takes it."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str | None]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self._inside: list[str] = []
        self.feed(page)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag in ("script", "style"):
            self._inside.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.words.append(data)
        elif self._inside[-1] == "script":
            self.scripts[-1] += data

    @property
    def island(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.scripts[0])
        return found


def hostile(trial: Any, text: str) -> Board:
    """A board with `text` in every field that a plugin, a suite or a record can fill."""
    environment = trial("kd", 0, 0.5).environment.model_copy(
        update={"device_name": text, "platform": text, "python": text}
    )
    common = {
        "dataset": text, "teacher": text, "student": text, "environment": environment,
        "settings": text, "notes": (text,),
    }  # fmt: skip
    records = [
        trial(method, seed, 0.8 + seed / 50 + place / 9, hyperparameters={text: text},
              losses={text: 0.5}, quality={"accuracy": 0.8 + place / 9, text: 0.5},
              **common)
        for place, method in enumerate(("scratch", text))
        for seed in range(2)
    ]  # fmt: skip
    records.append(
        trial("late", 0, 0.9, status="failed", **common,
              failure=Failure(kind=text, message=text, where=text))
    )  # fmt: skip
    about = About(
        summary=text, family=text, authors=text, title=text, venue=text,
        arxiv="javascript:alert(1)" + text, doi=text,
    )  # fmt: skip
    spec = BoardSpec(
        suite=text, title=text, about=text, baselines=("scratch",), notes={text: text},
        described={text: about},
    )  # fmt: skip
    return build(records, spec)


def test_a_hostile_string_in_any_field_changes_neither_tags_nor_attributes(
    kdbench_trial: Any,
) -> None:
    plots = [Plot(key="a", title=HOSTILE, caption=HOSTILE, svg="<svg></svg>")]
    harmless = [Plot(key="a", title="word", caption="word", svg="<svg></svg>")]
    bad = Read(render(hostile(kdbench_trial, HOSTILE), plots))
    good = Read(render(hostile(kdbench_trial, "word"), harmless))
    assert bad.tags == good.tags - Counter() and not bad.tags["img"]
    names = [(tag, name) for tag, name, _ in bad.attributes]
    assert names == [(tag, name) for tag, name, _ in good.attributes]
    assert not any(name.startswith("on") for _, name in names)
    assert "onerror=alert(2)" in bad.text  # shown, as the text that it is
    assert "{{ 7*7 }}" in bad.text
    assert not set(bad.text) & set("\u202e\x1b\u2028")


def test_links_lead_into_the_page_or_to_a_paper_by_https(kdbench_trial: Any) -> None:
    for board in (hostile(kdbench_trial, HOSTILE), build([kdbench_trial("dist", 0, 0.9)], SPEC)):
        page = Read(render(board))
        targets = [value or "" for _, name, value in page.attributes if name == "href"]
        assert all(target.startswith(("#", "https://")) for target in targets)
        assert not [name for _, name, _ in page.attributes if name in ("src", "action", "data")]
    assert "https://arxiv.org/abs/2205.10536" in targets


@pytest.mark.parametrize(
    ("about", "address"),
    [
        (About(arxiv="2205.10536v2"), "https://arxiv.org/abs/2205.10536v2"),
        (About(doi="10.1109/5.771073"), "https://doi.org/10.1109/5.771073"),
        (About(doi='10.1109/"><script>'), "https://doi.org/10.1109/%22%3E%3Cscript%3E"),
        (About(arxiv="javascript:alert(1)", doi="javascript:alert(1)"), ""),
        (About(arxiv="../../evil", doi="//evil"), ""),
    ],
)
def test_a_paper_s_address_is_made_of_a_known_number_or_not_at_all(
    about: About, address: str
) -> None:
    assert link(about)[0] == address


def test_the_island_cannot_be_left_and_holds_what_the_records_say(kdbench_trial: Any) -> None:
    page = Read(render(hostile(kdbench_trial, HOSTILE)))
    assert len(page.scripts) == 3
    assert not set(page.scripts[0]) & set("<>&'\u2028\u2029")
    terms = [
        label
        for row in page.island.values()
        for title, lines in row["parts"]
        if title.startswith("Loss terms")
        for label, _ in lines
    ]
    assert terms == [HOSTILE, HOSTILE]


def test_a_command_is_three_words_of_a_shell_and_names_the_record(
    kdbench_trial: Any, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    paths = {store.add(kdbench_trial("kd", seed, 0.5, dataset=HOSTILE)) for seed in (0, 1)}
    text = render(read(tmp_path))
    commands = re.findall(r"<code>(.*?)</code>", text)
    words = [shlex.split(html.unescape(command)) for command in commands]
    assert [word[:2] for word in words] == [["kdbench", "reproduce"]] * 2
    assert {tmp_path / path for _, _, path in words} == paths


def test_a_path_with_a_shell_s_words_is_quoted(
    kdbench_trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "records/a b; $(touch x).json"
    monkeypatch.setattr(Store, "path", lambda *_: Path(path))
    assert shlex.split(command(kdbench_trial("kd", 0, 0.5))) == ["kdbench", "reproduce", path]


def test_only_the_page_s_own_scripts_may_run_and_nothing_may_be_asked(kdbench_trials: Any) -> None:
    page = Read(render(build(kdbench_trials(), SPEC)))
    (policy,) = [v for _, name, v in page.attributes if name == "content" and "default-src" in v]
    hashes = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in page.scripts[1:]
    ]
    assert policy.split("; ") == [
        "default-src 'none'",
        f"script-src 'sha256-{hashes[0]}' 'sha256-{hashes[1]}'",
        "style-src 'unsafe-inline'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]


def test_the_same_board_is_the_same_bytes_in_any_order_of_records(kdbench_trials: Any) -> None:
    records = kdbench_trials()
    page = render(build(records, SPEC))
    for seed in range(3):
        random.Random(seed).shuffle(records)
        assert render(build(records, SPEC)) == page


def test_a_record_costs_at_most_600_bytes_beyond_three_megabytes(
    kdbench_root: Path, kdbench_trials: Any
) -> None:
    board = read(kdbench_root / "leaderboards/fashion-mini")
    count = sum(len(row.seeds) for table in board.tables for row in table.rows)
    assert count > 400
    assert len(render(board).encode()) < 3_000_000 + 600 * count
    few, many = (
        build(kdbench_trials({name: [0.8 + s / 1e6 for s in range(n)] for name in ACCURACY}), SPEC)
        for n in (10, 110)
    )
    grown = len(render(many).encode()) - len(render(few).encode())
    assert grown < 600 * 100 * len(ACCURACY)


def test_environments_and_hyperparameters_are_stored_once(kdbench_trials: Any) -> None:
    records = [
        record
        for student in ("resnet8[width=0.5]", "resnet8[width=0.25]")
        for record in kdbench_trials(student=student, hyperparameters={"alpha": 0.123456})
    ]
    elsewhere = records[0].environment.model_copy(update={"python": "3.13.77"})
    records = [records[0].model_copy(update={"environment": elsewhere}), *records[1:]]
    text = render(build(records, SPEC))
    assert [text.count(word) for word in ("0.123456", "3.11.1", "3.13.77")] == [1, 1, 1]
    rows = Read(text).island
    assert {row["settings"] for row in rows.values()} == {0}
    assert sorted({i for row in rows.values() for i in row["environments"]}) == [0, 1]


def test_without_a_script_a_reader_finds_every_figure_paper_and_command(
    kdbench_trials: Any, kdbench_trial: Any
) -> None:
    failed = kdbench_trial(
        "late", 0, 0.9, status="oom", failure=Failure(kind="oom", message="no room", where="step 3")
    )
    spec = SPEC.model_copy(
        update={"datasets": ("digits",), "pairs": ("resnet8:resnet8[width=0.5]", "a:b")}
    )
    board = build([*kdbench_trials(), failed], spec)
    text = Read(render(board)).text
    for row in board.tables[0].rows:
        assert f"{100 * row.metrics['accuracy'].mean:.2f} ±" in text
        for record in row.records:
            assert f"kdbench reproduce {Store(Path()).path(record)}" in text
    said = "Of 3 methods: ▲ 1 better than kd, ▼ 1 worse , ○ 1 with no difference shown ."
    assert said in text  # baselines are no methods
    assert "Tao Huang, Shan You: From A Stronger Teacher (NeurIPS, 2022)" in text
    assert "its weight was found elsewhere" in text
    assert "Hyperparameters: paper, set 0 ; environment 0" in text
    assert "late : 0 of 4 seeds; seed 0 oom in step 3: no room" in text
    assert "digits: a:b: not yet tried." in text


def test_the_summary_says_how_far_how_sure_and_at_what_cost(kdbench_trials: Any) -> None:
    board = build(kdbench_trials(), SPEC)
    rows = {row.name: row for row in board.tables[0].rows}
    text = Read(render(board)).text
    dist, dkd = rows["dist"].contrasts["kd"], rows["dkd"].contrasts["kd"]
    gain = f"+{100 * dist.difference.mean:.2f}"
    cost = rows["dist"].expense.overhead
    spent = f"{cost.mean:.2f} [{cost.low:.2f}, {cost.high:.2f}]"
    assert dist.differs and not dkd.differs
    half = f"{100 * dist.difference.half:.2f}"
    told = f"▲ Better than kd: 1 dist {gain} ± {half} {p_value(dist.adjusted)} {spent}"
    assert told in text
    assert f"{p_value(dkd.adjusted)} {dkd.more} {spent}" in text  # as sure where none is shown
    assert "○ No difference from kd shown: 1 dkd" in text


def test_the_summary_says_what_it_stands_on_and_how_the_baselines_stand(
    kdbench_trials: Any,
) -> None:
    card = Card(weights="ab" * 32, parameters=9, multiply_adds=9, quality={"accuracy": 0.9833})
    board = build([one.model_copy(update={"teacher": card}) for one in kdbench_trials()], SPEC)
    rows = {row.name: row for row in board.tables[0].rows}
    text, scratch = Read(render(board)).text, rows["scratch"].contrasts["kd"]
    assert "Teacher 98.33 %; 4 seeds; 200 training rows; measured on the test split" in text
    assert scratch.differs
    half, sure = f"{100 * scratch.difference.half:.2f}", p_value(scratch.adjusted)
    gain = f"+{-100 * scratch.difference.mean:.2f} ± {half} points, p (Holm) {sure}"
    assert f", better than scratch: {gain}; scratch 80.50 ±" in text


def test_a_row_with_a_quiz_split_names_the_baseline_it_is_compared_with(
    kdbench_trials: Any,
) -> None:
    held = {name: ACCURACY[name] for name in ("scratch", "kd")} | {"md": ACCURACY["dist"]}
    records = [*kdbench_trials(), *kdbench_trials(held, quiz=0.1, rows=180)]
    board = build(records, SPEC)
    said = answer(board.tables[0], SPEC, 0)
    assert said is not None and said.count == 4
    against = {one.name: one.against for one in (*said.above, *said.below, *said.open)}
    assert against == {"dist": "", "at": "", "dkd": "", "md (180 rows)": "kd (180 rows)"}
    assert [[one.name for one in same] for same in said.references] == [
        ["kd", "scratch"], ["kd (180 rows)", "scratch (180 rows)"],
    ]  # fmt: skip
    text = Read(render(board)).text
    assert "md (180 rows) vs kd (180 rows) +" in text
    assert "A method that holds out a quiz split trains on fewer rows" in text
    assert "over baselines that train on as few: kd (180 rows), scratch (180 rows)." in text
    assert "quiz split" not in Read(render(build(kdbench_trials(), SPEC))).text


def test_findings_are_in_order_and_an_empty_group_has_no_heading(kdbench_root: Path) -> None:
    board = read(kdbench_root / "leaderboards/fashion-mini")
    said = answer(board.tables[0], board.spec, 0)
    assert said is not None and said.count == len(said.above) + len(said.below) + len(said.open)
    means = {kind: [one.told.mean for one in getattr(said, kind)]
             for kind in ("above", "below", "open")}  # fmt: skip
    assert means["above"] == sorted(means["above"], reverse=True)
    assert means["below"] == sorted(means["below"])
    assert means["open"] == sorted(means["open"], reverse=True)
    assert len(means["open"]) > 10
    assert "All are in the table below." in Read(render(board)).text
    digits = read(kdbench_root / "leaderboards/digits")
    assert "Better than kd: " not in Read(render(digits)).text


def test_beyond_a_thousand_seeds_no_number_is_printed(kdbench_trials: Any) -> None:
    (row,) = [row for row in build(kdbench_trials(), SPEC).tables[0].rows if row.name == "dkd"]
    known = row.contrasts["kd"]
    far = dataclasses.replace(row, contrasts={"kd": dataclasses.replace(known, more=None)})
    assert not known.differs
    assert (verdict(row, "kd").more, verdict(far, "kd").more) == (str(known.more), "over 1,000")
    shown = dataclasses.replace(known, adjusted=0.01, more=None)
    assert verdict(dataclasses.replace(row, contrasts={"kd": shown}), "kd").more == "–"


def test_partial_trials_stand_apart_and_feed_no_figure(
    kdbench_trials: Any, kdbench_trial: Any
) -> None:
    short = kdbench_trial("kd", 0, 0.5).question.protocol.model_copy(update={"budget": 0.25})
    board = build([*kdbench_trials(), kdbench_trial("kd", 0, 0.123, protocol=short)], SPEC)
    text = render(board)
    before, after = text.split("Not the full protocol</h2>")
    assert "12.30" not in Read(before.split("</title>")[1]).text
    assert "12.30" in Read(after.split("<script")[0]).text


def test_what_ran_on_several_pairs_has_a_table_over_all_of_them(kdbench_trials: Any) -> None:
    records = [r for s in ("resnet8", "resnet20") for r in kdbench_trials(student=s)]
    board = build(records, SPEC)
    text = Read(render(board)).text
    (best, *_) = board.across
    assert "Over all pairs" in text
    assert f"{best.name} {100 * best.standing.mean:+.2f} [" in text
    over_kd = sum(row.gains["kd"].mean for row in best.rows.values()) / len(best.rows)
    found = across(board)
    assert found is not None and found.columns[1].title == "Mean gain over kd"
    assert found.lines[0].cells[1].text == f"{100 * over_kd:+.2f}"
    assert {line.name: line.cells[1].text for line in found.lines}["kd"] == "–"
    assert "The mean gain over kd is a plain mean and has no interval." in text


def test_over_all_pairs_a_quiz_split_is_said_to_have_weaker_baselines(
    kdbench_trials: Any,
) -> None:
    records = [r for s in ("resnet8", "resnet20") for r in kdbench_trials(student=s)]
    held = {name: ACCURACY[name] for name in ("scratch", "kd", "dist")}
    some = [
        r for s in ("resnet8", "resnet20")
        for r in kdbench_trials(held, student=s, quiz=0.1, rows=180)
    ]  # fmt: skip
    said = "A row with a quiz split has its gain over its own baselines"
    assert said in Read(render(build([*records, *some], SPEC))).text
    assert said not in Read(render(build(records, SPEC))).text


def test_a_board_of_one_seed_and_one_of_nothing_have_a_page(kdbench_trial: Any) -> None:
    one = build([kdbench_trial(name, 0, 0.8) for name in ("scratch", "kd", "at")], SPEC)
    assert "one seed tells nothing" in Read(render(one)).text
    assert "No trial of the full protocol yet." in Read(render(build([], SPEC))).text
    assert "Nothing is compared" in Read(render(build([kdbench_trial("kd", 0, 0.8)]))).text


def test_the_digest_is_of_the_data_and_not_of_pictures_and_libraries(
    kdbench_trials: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = kdbench_trials()
    page = render(build(records, SPEC))
    told = f'<meta name="kdbench-data" content="sha256-{digest(page)}">'
    assert told in page
    plots = [Plot(key="a", title="A", caption="B", svg="<svg></svg>")]
    assert digest(render(build(records, SPEC), plots)) == digest(page)
    monkeypatch.setattr("kdbench.page.whole.datatables", lambda: "another()")
    assert digest(render(build(records, SPEC))) == digest(page)
    quality = {**records[0].quality, "nll": 0.41}
    other = [records[0].model_copy(update={"quality": quality}), *records[1:]]
    assert digest(render(build(other, SPEC))) != digest(page)


def test_a_changed_figure_fails_the_check_and_another_library_does_not(
    kdbench_trials: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = build(kdbench_trials(), SPEC)
    assert check(board, tmp_path)[0] == "index.html is missing"
    path, *pictures = write(board, tmp_path, tmp_path)
    assert path == tmp_path / NAME and check(board, tmp_path) == []
    assert {one.stem for one in pictures} == set(pictured.names(board))
    kept = path.read_text("utf-8")
    path.write_text(kept.replace("84.75", "99.99", 1), "utf-8")
    assert check(board, tmp_path) == ["index.html differs from what the records give"]
    path.write_text(kept, "utf-8")
    monkeypatch.setattr("kdbench.page.whole.datatables", lambda: "another()")
    assert check(board, tmp_path) == []


@pytest.mark.parametrize(
    "source", ["no exports", "export{a as default}</script>", "export{a as b}"]
)
def test_another_bundle_than_datatables_is_refused(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bundle.js").write_text(source)

    class Shipped:
        def locate_file(self, path: str) -> Path:
            return tmp_path / "bundle.js"

    monkeypatch.setattr(bundle, "distribution", lambda name: Shipped())
    with pytest.raises(MissingExtra, match="no such DataTables bundle"):
        bundle.datatables.__wrapped__()


def test_the_licences_of_the_library_stay_with_it() -> None:
    assert "datatables.net/license" in bundle.datatables()
