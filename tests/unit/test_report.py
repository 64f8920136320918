import html.parser
import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from kdbench.cli import main
from kdbench.leaderboard import Board, BoardSpec, build, write_spec
from kdbench.leaderboard.claims import Answered, answered
from kdbench.leaderboard.spec import Variation
from kdbench.page import report as page
from kdbench.page.axis import axis
from kdbench.record import Card, Record, Store, TeacherProtocol
from kdbench.statistics import mean
from kdbench.suite import Claim, Point, Report, Series, Term, Where, load

HOSTILE = "</td><script>alert(1)</script><img src=x onerror=alert(2)>\"'{{ 7*7 }} | `x` \u202e"
SEEDS = range(5)
LEVELS = {
    ("hard", "scratch"): 0.80, ("hard", "kd"): 0.84, ("hard", "dkd"): 0.842, ("hard", "at"): 0.79,
    ("smooth", "kd"): 0.82, ("smooth", "dkd"): 0.85,
}  # fmt: skip
TEACHERS = {"hard": 0.90, "smooth": 0.805}
DATASETS = ("digits", "mnist")


def term(where: str, method: str, weight: float = 1.0, **changes: Any) -> Term:
    asked = {"measure": "accuracy", **changes}
    return Term(variant=where, method=method, weight=weight, **asked)


def claim(key: str, *terms: Term, direction: Any = "greater", **changes: Any) -> Claim:
    said = {"says": f"It is claimed that {key}.", "source": "Table 1", "effect": 0.005}
    return Claim(key=key, direction=direction, terms=terms, **said | changes)


KD, SCRATCH = term("hard", "kd"), term("hard", "scratch", -1)
CLAIMS = (
    claim("better", KD, SCRATCH, published="+2.1 points on CIFAR-100", says="A student that "
          "learns from the teacher is more accurate than one that learns from the labels alone."),
    claim("smooth-teacher", KD, term("smooth", "kd", -1),
          published="72.3 against 71.5 %",
          says="A teacher trained with label smoothing teaches worse."),
    claim("attention", term("hard", "at"), SCRATCH, says="Attention maps alone help.",
          published="+0.8 points"),
    claim("alike", term("hard", "dkd"), term("hard", "kd", -1), direction="equal", effect=0.02,
          says="Decoupling changes nothing beyond 2 points."),
    claim("no-harm", term("hard", "dkd"), term("hard", "kd", -1), direction="not less",
          effect=0.001, says="Decoupling does not harm."),
    claim("divergence", term("hard", "kd", measure="kl"), term("hard", "dkd", -1, measure="kl"),
          direction="less", unit="nats", effect=0.001, says="Matching logits ends nearer to the "
          "teacher than decoupling does."),
    Claim(key="order", says="Students that agree more with their teacher are more accurate.",
          source="Figure 3", direction="greater", effect=0.1, unit="correlation", x="agreement",
          y="accuracy", along=tuple(Where(variant=v, method=m) for v, m in LEVELS)),
    claim("lost", term("smooth", "at"), SCRATCH, says="Attention maps help under label smoothing."),
)  # fmt: skip
REPORT = Report(
    question="Does a student learn more from the soft answers of a teacher than from the labels "
    "alone, and does it matter how that teacher was trained?",
    setting="The paper trained ResNet-110 and ResNet-32 on CIFAR-100 for 240 epochs; this suite "
    "trains networks a hundredth of that size on 8 by 8 digits for 60 epochs.",
    papers=("A. Author and B. Author: A Paper With A Title, NeurIPS 2019 (arXiv:1906.02629).",),
    series=(
        Series(title="Accuracy of the student", source="Table 2", measure="accuracy", points=(
            Point(label="from the labels", variant="hard", method="scratch", published=79.3),
            Point(label="from a teacher", variant="hard", method="kd", published=81.4),
            Point(label="from a smoothed teacher", variant="smooth", method="kd"),
            Point(label="attention, smoothed", variant="smooth", method="at", published=80.2),
        )),
        Series(title="Calibration error of the student", source="Figure 4", measure="ece", unit="",
               points=(
            Point(label="from the labels", variant="hard", method="scratch", published=0.14),
            Point(label="from a teacher", variant="hard", method="kd", published=0.051),
        )),
    ),
)  # fmt: skip


@pytest.fixture
def kdbench_trials(kdbench_record: Callable[..., Record]) -> list[Record]:
    """Of both variants, methods and data sets, five seeds each."""
    draw, found = random.Random(0), []
    first = kdbench_record().question
    luck = {seed: draw.gauss(0, 0.01) for seed in SEEDS}
    for (variant, method), level in LEVELS.items():
        rows = 500 if variant == "smooth" else None
        recipe = TeacherProtocol.model_validate(first.protocol.model_dump() | {"rows": rows})
        for dataset in DATASETS:
            for seed in SEEDS:
                asked = {"method": method, "dataset": dataset, "seed": seed}
                question = first.model_copy(update={**asked, "teacher_protocol": recipe})
                accuracy = round(level + luck[seed] + draw.gauss(0, 0.004), 4)
                quality = {"accuracy": accuracy, "ece": 0.05 + draw.gauss(0, 0.002)}
                test = {"agreement": accuracy + draw.gauss(0, 0.004), "kl": draw.gauss(0.1, 0.01)}
                found.append(
                    kdbench_record(
                        question=question, rows=200, quality=quality, fidelity={"test": test},
                        teacher=Card(
                            weights=variant, parameters=9, multiply_adds=9,
                            quality={"accuracy": TEACHERS[variant]},
                        ),
                    )
                )  # fmt: skip
    return found


@pytest.fixture
def kdbench_spec(kdbench_trials: list[Record]) -> BoardSpec:
    """What the suite says, claims included."""
    variants: dict[str, dict[str, str]] = {variant: {} for variant in TEACHERS}
    for table in build(kdbench_trials).tables:
        assert table.question.teacher_protocol
        variant = "smooth" if table.question.teacher_protocol.rows else "hard"
        variants[variant][f"{table.question.dataset} {table.pair}"] = table.key
    return BoardSpec(
        suite="toy", title="Does smoothing the teacher harm?", baselines=("scratch", "kd"),
        seeds=tuple(SEEDS), claims=CLAIMS, report=REPORT,
        variants={name: Variation(tables=tables) for name, tables in variants.items()},
    )  # fmt: skip


@pytest.fixture
def kdbench_board(kdbench_trials: list[Record], kdbench_spec: BoardSpec) -> Board:
    return build(kdbench_trials, kdbench_spec)


@pytest.fixture
def kdbench_answered(kdbench_board: Board) -> Answered:
    return answered(kdbench_board)


@pytest.fixture
def kdbench_folder(kdbench_trials: list[Record], kdbench_spec: BoardSpec, tmp_path: Path) -> Path:
    """A store of these records."""
    store = Store(tmp_path / "toy")
    for record in kdbench_trials:
        store.add(record)
    write_spec(kdbench_spec, tmp_path / "toy")
    return tmp_path / "toy"


@pytest.fixture
def kdbench_hostile(kdbench_trials: list[Record], kdbench_spec: BoardSpec) -> Answered:
    """A report every text of which is hostile."""
    bad = [
        one.model_copy(update={"says": HOSTILE, "source": HOSTILE, "published": HOSTILE})
        for one in kdbench_spec.claims
    ]
    lost = claim("hostile", term("hard", "kd", measure=HOSTILE), says=HOSTILE)
    series = [
        one.model_copy(
            update={
                "title": HOSTILE, "source": HOSTILE,
                "points": tuple(p.model_copy(update={"label": HOSTILE}) for p in one.points),
            }
        )
        for one in REPORT.series
    ]  # fmt: skip
    said = Report(question=HOSTILE, setting=HOSTILE, papers=(HOSTILE,), series=tuple(series))
    spec = kdbench_spec.model_copy(
        update={"claims": (*bad, lost), "report": said, "title": HOSTILE, "suite": HOSTILE}
    )
    return answered(build(kdbench_trials, spec))


@pytest.fixture(scope="module")
def kdbench_browser() -> Iterator[Browser]:
    """Chromium; without it the tests fail, because a page that no browser opened is not tested."""
    found = shutil.which("chromium")
    if found is None:
        pytest.fail("chromium is not installed: apt-get install chromium (a failure, not a skip)")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def kdbench_open(kdbench_browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """`kdbench_open(text, **context)`: a page from disk, which must do nothing but show."""
    wrong: list[str] = []
    contexts = []

    def made(text: str, **options: Any) -> Page:
        path = tmp_path / f"page{len(contexts)}.html"
        path.write_text(text, "utf-8")
        contexts.append(kdbench_browser.new_context(**options))
        shown = contexts[-1].new_page()

        def asked(request: Any) -> None:
            if request.url != path.as_uri():
                wrong.append(f"asked for {request.url}")

        def spoken(dialog: Any) -> None:
            wrong.append(f"said {dialog.message}")
            dialog.dismiss()

        shown.on("request", asked)
        shown.on("dialog", spoken)
        shown.on("console", lambda said: wrong.append(said.text))
        shown.goto(path.as_uri())
        return shown

    yield made
    for context in contexts:
        context.close()
    assert wrong == []


def overflow(shown: Page) -> int:
    """Pixels that the page is wider than the window."""
    found: int = shown.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return found


def test_the_demonstration_has_every_verdict(kdbench_answered: Answered) -> None:
    assert {one.claim.key: one.verdict for one in kdbench_answered.findings} == {
        "better": "reproduced", "smooth-teacher": "reproduced", "attention": "not reproduced",
        "alike": "reproduced", "no-harm": "not testable", "divergence": "not testable",
        "order": "reproduced", "lost": "not answered",
    }  # fmt: skip
    assert kdbench_answered.verdict == (
        "Of 8 claims: 4 reproduced, 1 not reproduced, 2 not testable at this size, 1 not answered."
    )


def test_markdown_has_a_line_for_each_claim_and_each_point(kdbench_answered: Answered) -> None:
    text = kdbench_answered.markdown()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    for one in CLAIMS:
        (line,) = (line for line in lines if one.says in line)
        assert re.sub(r"\\\|", "", line).count("|") == 9
    (labels,) = (line for line in lines if "from the labels" in line and "79.3 %" in line)
    (ours,) = re.findall(r"(\d+\.\d\d) \\\[\d", labels)
    figure = kdbench_answered.series[0].figures[0].ours
    assert figure and ours == f"{100 * figure.mean:.2f}"
    assert "**Of 8 claims: 4 reproduced" in text and REPORT.question in text
    assert "The teacher is better than scratch in 2 of 4 tables; in 2 it could not be told." in text


def test_json_holds_the_numbers_of_the_findings(kdbench_answered: Answered) -> None:
    data = json.loads(kdbench_answered.json())
    assert data["counts"] == kdbench_answered.counts
    for one, found in zip(data["claims"], kdbench_answered.findings, strict=True):
        assert (one["verdict"], one["why"]) == (found.verdict, found.why)
        assert {int(s): v for s, v in one["values"].items()} == pytest.approx(found.values)
        if found.estimate:
            assert one["contrast"]["low"] == pytest.approx(found.estimate.low)
    assert [len(one["points"]) for one in data["series"]] == [4, 2]
    assert data["run"]["trials"] == 60


def test_what_was_run_counts_trials_and_names_what_is_missing(
    kdbench_trials: list[Record], kdbench_spec: BoardSpec
) -> None:
    whole = build(kdbench_trials[1:], kdbench_spec)
    run = answered(whole).run
    assert (run.trials, run.tables) == (55, 4)
    assert run.failures == ("hard: digits resnet8:resnet8[width=0.5]: scratch: seed 0: no record",)
    assert run.seeds == tuple(SEEDS) and run.code["kd"] == ("c" * 64,)
    text = answered(whole).markdown()
    assert "1 incomplete row" in text and "scratch: seed 0: no record" in text


class Parsed(html.parser.HTMLParser):
    """Tags, attributes and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def test_hostile_texts_stay_texts_everywhere(kdbench_hostile: Answered) -> None:
    text = page.render(kdbench_hostile)
    seen = Parsed(text)
    assert {"script", "img", "iframe"}.isdisjoint(seen.tags)
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert "{{ 7*7 }}" in text and "\u202e" not in text
    markdown = kdbench_hostile.markdown()
    assert "<" not in markdown.replace("&lt;", "")
    lines = [line for line in markdown.splitlines() if line.startswith("| **")]
    assert len(lines) == 9
    assert {line.replace("\\|", "").count("|") for line in lines} == {9}


def test_the_page_refers_to_nothing_but_itself_and_runs_nothing(
    kdbench_answered: Answered,
) -> None:
    text = page.render(kdbench_answered)
    places = [v or "" for name, v in Parsed(text).attributes if name in ("href", "src", "action")]
    assert places and all(place.startswith("#") for place in places)
    assert "@import" not in text and "url(" not in text
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert "default-src 'none'" in policy and "script-src" not in policy
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids)) and {place[1:] for place in places} <= set(ids)


def test_the_board_is_linked_where_it_lies_beside_and_changes_no_digest(
    kdbench_answered: Answered, tmp_path: Path
) -> None:
    alone = page.write(kdbench_answered, tmp_path).read_text("utf-8")
    assert "index.html" not in alone
    (tmp_path / "index.html").write_text("a board")
    beside = page.write(kdbench_answered, tmp_path).read_text("utf-8")
    assert '<a href="index.html">' in beside
    assert page.check(kdbench_answered, tmp_path) == []


def test_a_number_that_was_typed_in_is_found(kdbench_answered: Answered, tmp_path: Path) -> None:
    assert page.check(kdbench_answered, tmp_path) == ["report.html is missing"]
    path = page.write(kdbench_answered, tmp_path)
    text = path.read_text("utf-8")
    assert text.count("<b>4</b>") == 1
    path.write_text(text.replace("<b>4</b>", "<b>5</b>"), "utf-8")
    assert page.check(kdbench_answered, tmp_path) == [
        "report.html differs from what the records give"
    ]


def test_ticks_are_round_numbers_that_lie_where_they_say() -> None:
    one = axis([mean([0.013, 0.021, 0.017])], [-0.005, 0.0, 0.005], 100)
    for place, text in one.ticks:
        assert one.at(float(text.replace("−", "-"))) == pytest.approx(place)
    assert 3 <= len(one.ticks) <= 7
    assert one.at(0.0) < one.mark(mean([0.013, 0.021, 0.017]), 100).at <= 100


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_a_phone_and_a_desk_without_script(
    kdbench_open: Callable[..., Page], kdbench_answered: Answered, width: int, scheme: str
) -> None:
    size = {"width": width, "height": 844}
    shown = kdbench_open(page.render(kdbench_answered), viewport=size, color_scheme=scheme)
    assert overflow(shown) <= 0
    tally = shown.locator(".tally")
    assert tally.is_visible() and "4\nreproduced" in tally.inner_text()
    box = tally.bounding_box()
    assert box and box["y"] + box["height"] < 844  # seen without scrolling
    assert shown.locator(".verdicts tbody tr").count() == 8
    paper = shown.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 26)"}[scheme]
    mark = shown.locator("#contrasts .interval .shape").first.bounding_box()
    assert mark and 0 <= mark["x"] <= width


def test_a_hostile_page_does_nothing_and_fits_a_phone(
    kdbench_open: Callable[..., Page], kdbench_hostile: Answered
) -> None:
    shown = kdbench_open(page.render(kdbench_hostile), viewport={"width": 390, "height": 844})
    assert overflow(shown) <= 0
    assert "<script>alert(1)</script>" in shown.locator("h1").inner_text()


def test_the_command_writes_prints_and_checks(
    kdbench_folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    place = str(kdbench_folder)
    assert main(["report", place]) == 0
    said = capsys.readouterr().out
    assert "Of 8 claims: 4 reproduced" in said and "report.html" in said
    assert main(["report", place, "--check"]) == 0
    assert main(["report", place, "--json"]) == 0
    data = json.loads(capsys.readouterr().out.partition("as the records give it")[2])
    assert data["data"]["counts"]["reproduced"] == 4
    assert main(["report", place, "--output", str(tmp_path / "elsewhere")]) == 0
    for name in ("report.html", "REPORT.md", "report.json"):
        same = (tmp_path / "elsewhere" / name).read_bytes()
        assert same == (kdbench_folder / name).read_bytes()
    (kdbench_folder / "REPORT.md").write_text("all reproduced")
    assert main(["report", place, "--check"]) == 6
    assert "REPORT.md differs from what the records give" in capsys.readouterr().out
    assert main(["report", place, "--check", "--json"]) == 2


def test_a_suite_without_a_report_is_told_in_three_lines(
    kdbench_folder: Path, kdbench_spec: BoardSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = kdbench_spec.model_copy(update={"claims": (), "report": None})
    write_spec(bare, kdbench_folder)
    assert main(["report", str(kdbench_folder)]) == 5
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 3 and error[0] == "error: toy has no report"
    assert not (kdbench_folder / "REPORT.md").exists()
    assert main(["report", str(kdbench_folder / "nothing")]) == 5


def test_the_suite_of_the_docs_is_one_and_makes_two_claims(
    kdbench_root: Path, tmp_path: Path
) -> None:
    text = (kdbench_root / "docs" / "reports.md").read_text("utf-8")
    (example,) = re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "smoothing.toml").write_text(example, "utf-8")
    suite = load(str(tmp_path / "smoothing.toml"))
    assert [one.key for one in suite.claims] == ["worse-teacher", "agreement-goes-with-accuracy"]
    assert [name for name, _ in suite.varied()] == ["plain", "smooth"]
    assert suite.report and len(suite.report.series[0].points) == 2
