"""The page of a board in a real browser: Chromium without a screen, from disk, without network."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from kdbench.leaderboard import About, Board, BoardSpec, build, read
from kdbench.page import Plot, render
from kdbench.record import Record

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
HOSTILE = (
    "x</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'><svg onload=alert(3)></svg>"
)


@pytest.fixture(scope="module")
def kdbench_browser() -> Iterator[Browser]:
    """Chromium; without it the tests fail, because a page that no browser opened is not tested."""
    found = shutil.which("chromium")
    if found is None:
        pytest.fail("chromium is not installed: apt-get install chromium (a failure, not a skip)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Seen:
    """A page that is open, and what it did that it must not do."""

    page: Page
    address: str
    wrong: list[str] = field(default_factory=list)

    def names(self, table: str = "#table-0") -> list[str]:
        """Of the rows, from top to bottom."""
        found: list[str] = self.page.locator(f"{table} table.grid tbody th").all_inner_texts()
        return found

    def wider(self) -> int:
        """Pixels that the page is wider than the window."""
        found: int = self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return found


@pytest.fixture
def kdbench_open(kdbench_browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Seen]]:
    """`kdbench_open(text, fragment, **context)`: a page from disk, which asks for nothing else."""
    opened: list[Seen] = []

    def made(text: str, fragment: str = "", **options: Any) -> Seen:
        path = tmp_path / f"page{len(opened)}.html"
        path.write_text(text, "utf-8")
        context = kdbench_browser.new_context(**options)
        seen = Seen(context.new_page(), path.as_uri())
        opened.append(seen)
        page, wrong = seen.page, seen.wrong

        def asked(request: Any) -> None:
            if request.url.partition("#")[0] != path.as_uri():
                wrong.append(f"asked for {request.url}")

        def spoken(dialog: Any) -> None:
            wrong.append(f"said {dialog.message}")
            dialog.dismiss()

        page.on("request", asked)
        page.on("dialog", spoken)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text))
        page.goto(path.as_uri() + fragment)
        return seen

    yield made
    for seen in opened:
        assert seen.wrong == []
        seen.page.context.close()


@pytest.fixture(scope="module")
def kdbench_board(kdbench_root: Path) -> Board:
    """The committed digits board."""
    return read(kdbench_root / "leaderboards/digits")


@pytest.fixture(scope="module")
def kdbench_digits(kdbench_board: Board) -> str:
    """Its page, with a picture."""
    plot = Plot(key="one", title="A picture", caption="Of nothing.", svg='<svg width="2000"></svg>')
    return render(kdbench_board, [plot])


@pytest.fixture(scope="module")
def kdbench_fashion(kdbench_root: Path) -> str:
    """The page of the committed fashion-mini board."""
    return render(read(kdbench_root / "leaderboards/fashion-mini"))


def head(seen: Seen, key: str, table: str = "#table-0") -> Any:
    return seen.page.locator(f"{table} thead th[data-key={key}]")


def test_a_click_sorts_and_another_sorts_the_other_way(
    kdbench_open: Callable[..., Seen], kdbench_digits: str
) -> None:
    seen = kdbench_open(kdbench_digits)
    first = seen.names()
    head(seen, "overhead").click()
    expect(head(seen, "overhead")).to_have_attribute("aria-sort", "descending")
    assert seen.names()[0] == "metadistil (58 rows)"
    head(seen, "overhead").click()
    expect(head(seen, "overhead")).to_have_attribute("aria-sort", "ascending")
    assert seen.names()[0].startswith("scratch")
    assert seen.names("#table-1")[0] == "rco"  # another table stays as it is
    head(seen, "overhead").click()
    expect(head(seen, "overhead")).not_to_have_attribute("aria-sort", "ascending")
    assert seen.names() == first


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_the_keyboard_alone_sorts(
    kdbench_open: Callable[..., Seen], kdbench_digits: str, kdbench_board: Board, key: str
) -> None:
    seen = kdbench_open(kdbench_digits)
    seen.page.locator("#table-0 thead th[data-key=n] [tabindex='0']").focus()
    seen.page.keyboard.press("Tab")
    focused = "document.activeElement.closest('th').dataset.key"
    assert seen.page.evaluate(focused) == "agreement"
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert seen.page.evaluate(outline) == "solid"
    seen.page.keyboard.press(key)
    expect(head(seen, "agreement")).to_have_attribute("aria-sort", "descending")
    rows = kdbench_board.tables[0].rows
    assert seen.names()[0] == max(rows, key=lambda row: row.metrics["agreement"].mean).name


def test_missing_figures_come_last_in_both_directions(
    kdbench_open: Callable[..., Seen], kdbench_digits: str
) -> None:
    seen = kdbench_open(kdbench_digits)
    for direction in ("descending", "ascending"):
        head(seen, "gain-kd").click()
        expect(head(seen, "gain-kd")).to_have_attribute("aria-sort", direction)
        assert sorted(seen.names()[-2:]) == ["kd", "kd (58 rows)"]


def test_filters_narrow_every_table_and_say_how_far(
    kdbench_open: Callable[..., Seen], kdbench_fashion: str
) -> None:
    seen = kdbench_open(kdbench_fashion)
    assert seen.page.locator("#count").inner_text() == "53 rows"
    seen.page.locator("#told").select_option("above")
    assert seen.names() == ["dist", "semckd", "reviewkd", "kd", "kd (1350 rows)"]
    seen.page.locator("#family").select_option("logits")
    assert seen.names() == ["dist", "kd", "kd (1350 rows)"]
    seen.page.get_by_label("Filter").fill("DI")
    assert seen.names() == ["dist"]
    assert seen.page.locator("#count").inner_text() == "1 of 53 rows"
    seen.page.get_by_label("Filter").fill("nothing is so named")
    assert "No method of this table" in seen.page.locator("#table-0 table.grid tbody").inner_text()
    seen.page.get_by_role("button", name="Reset").click()
    expect(seen.page.locator("#count")).to_have_text("53 rows")
    assert len(seen.names()) == 53


def test_a_group_of_columns_is_shown_at_a_time(
    kdbench_open: Callable[..., Seen], kdbench_digits: str
) -> None:
    seen = kdbench_open(kdbench_digits)
    visible = "#table-0 thead tr:last-child th"
    overview = seen.page.locator(visible).all_inner_texts()
    seen.page.get_by_label("Cost", exact=True).check(force=True)
    cost = seen.page.locator(visible).all_inner_texts()
    assert [text.strip() for text in cost[:2]] == ["Method", "Cost ×"] and "Step ms" in cost
    seen.page.keyboard.press("ArrowRight")  # a group of radio buttons
    every = seen.page.locator(visible).all_inner_texts()
    assert set(overview) | set(cost) <= set(every) and len(every) > len(cost) + 6
    assert seen.page.locator("#table-0 .groups th").all_inner_texts() == [
        "Accuracy", "Fidelity", "Cost",
    ]  # fmt: skip


def test_a_row_opens_what_is_behind_it_and_escape_closes_it(
    kdbench_open: Callable[..., Seen], kdbench_digits: str, kdbench_board: Board
) -> None:
    seen = kdbench_open(kdbench_digits)
    link = seen.page.locator("#table-0 table.grid").get_by_role("link", name="rco")
    link.focus()
    seen.page.keyboard.press("Enter")
    drawer = seen.page.get_by_role("dialog", name="rco")
    text = drawer.inner_text()
    for words in (
        "Knowledge Distillation via Route Constrained Optimization", "arXiv:1904.09149",
        "seed 4", "Loss terms", "hard", "temperature", "Agreement %",
        kdbench_board.tables[0].rows[0].records[0].environment.device_name,
    ):  # fmt: skip
        assert words in text
    commands = drawer.locator("code").all_inner_texts()
    assert len(commands) == 5
    assert commands[0].startswith("kdbench reproduce records/digits/resnet8--resnet8_width=0.5_/")
    assert seen.page.evaluate("document.getElementById('drawer').contains(document.activeElement)")
    seen.page.keyboard.press("Escape")
    expect(drawer).to_have_count(0)
    assert link.evaluate("one => one === document.activeElement")


def test_a_command_is_copied(kdbench_open: Callable[..., Seen], kdbench_digits: str) -> None:
    granted = ["clipboard-read", "clipboard-write"]
    seen = kdbench_open(kdbench_digits, "#row=0%2Fkd", permissions=granted)
    drawer = seen.page.get_by_role("dialog")
    drawer.get_by_role("button", name="Copy").nth(2).click()
    drawer.get_by_role("button", name="Copied").wait_for()
    copied = seen.page.evaluate("navigator.clipboard.readText()")
    assert copied == drawer.locator("code").nth(2).inner_text()


def test_the_address_brings_back_what_was_looked_at(
    kdbench_open: Callable[..., Seen], kdbench_digits: str
) -> None:
    seen = kdbench_open(kdbench_digits)
    seen.page.get_by_label("Fidelity", exact=True).check(force=True)
    seen.page.get_by_label("Filter").fill("kd")
    head(seen, "kl", "#table-1").click()
    expect(head(seen, "kl", "#table-1")).to_have_attribute("aria-sort", "descending")
    seen.page.locator("#table-1 table.grid").get_by_role("link", name="kd", exact=True).click()
    seen.page.wait_for_function("location.hash.includes('row=')")
    seen.page.wait_for_function("location.hash.includes('sort-1=')")
    left = seen.names("#table-1")
    fragment = "#" + seen.page.evaluate("location.hash.slice(1)")
    again = kdbench_open(kdbench_digits, fragment)
    drawer = again.page.get_by_role("dialog", name="kd")
    assert "resnet8[width=0.25]" in drawer.inner_text()
    again.page.keyboard.press("Escape")
    assert again.names("#table-1") == left == ["kd (58 rows)", "kd"]
    expect(head(again, "kl", "#table-1")).to_have_attribute("aria-sort", "descending")
    assert again.page.get_by_label("Fidelity", exact=True).is_checked()
    assert again.page.get_by_label("Filter").input_value() == "kd"
    again.page.evaluate("location.hash = '#view=nonsense&sort-0=no.where&row=9%2Fnobody'")
    again.page.wait_for_function("document.getElementById('filter').value === ''")
    assert len(again.names()) == 8


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 1280])
def test_only_tables_scroll_sideways(
    kdbench_open: Callable[..., Seen], kdbench_digits: str, width: int, scheme: str
) -> None:
    size = {"width": width, "height": 844}
    seen = kdbench_open(kdbench_digits, "#view=all", viewport=size, color_scheme=scheme)
    assert seen.wider() == 0
    seen.page.locator("#table-0 table.grid a").first.click()
    assert seen.wider() == 0
    assert seen.page.locator("#drawer").evaluate("one => one.scrollWidth <= one.clientWidth")


@pytest.mark.parametrize("width", [390, 1280])
def test_a_name_and_its_figure_stand_on_one_line(
    kdbench_open: Callable[..., Seen], kdbench_fashion: str, width: int
) -> None:
    seen = kdbench_open(kdbench_fashion, viewport={"width": width, "height": 844})
    pairs = seen.page.locator(".rest .whole")
    heights = pairs.evaluate_all("all => all.map((one) => one.getBoundingClientRect().height)")
    assert len(heights) > 20 and max(heights) < 1.5 * min(heights)
    broken = kdbench_fashion.replace(".findings .whole {", ".nothing {")
    heights = (
        kdbench_open(broken, viewport={"width": width, "height": 844})
        .page.locator(".rest .whole")
        .evaluate_all("all => all.map((one) => one.getBoundingClientRect().height)")
    )
    assert max(heights) > 1.5 * min(heights)  # so that the first assertion can fail


def test_the_words_are_readable_in_light_and_dark(
    kdbench_open: Callable[..., Seen], kdbench_fashion: str
) -> None:
    # WCAG 2: contrast of at least 4.5 between text and what is behind it.
    measure = """() => {
      const light = (text) => {
        const [r, g, b] = text.match(/[\\d.]+/g).map(Number)
          .map((c) => c / 255).map((c) => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
        return .2126 * r + .7152 * g + .0722 * b;
      };
      const behind = (one) => {
        for (; one; one = one.parentElement) {
          const colour = getComputedStyle(one).backgroundColor;
          if (!/, 0\\)$/.test(colour)) return colour;
        }
      };
      const worst = {};
      for (const one of document.querySelectorAll("body *")) {
        if (![...one.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
        if (!one.checkVisibility() || one.closest("svg, script")) continue;
        const [a, b] = [getComputedStyle(one).color, behind(one)];
        const [high, low] = [light(a), light(b)].sort((x, y) => y - x);
        const contrast = (high + .05) / (low + .05);
        if (contrast < 4.5) worst[`${one.tagName} ${one.className} ${a} ${b}`] = contrast;
      }
      return worst;
    }"""
    backgrounds = []
    for scheme in ("light", "dark"):
        seen = kdbench_open(kdbench_fashion, color_scheme=scheme)
        assert seen.page.evaluate(measure) == {}
        backgrounds.append(
            seen.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        )
    assert len(set(backgrounds)) == 2


def test_without_javascript_all_is_there(
    kdbench_open: Callable[..., Seen], kdbench_digits: str, kdbench_board: Board
) -> None:
    seen = kdbench_open(kdbench_digits, java_script_enabled=False)
    page = seen.page
    assert not page.locator("#tools").is_visible()
    assert len(seen.names()) == 8
    titles = page.locator("#table-0 table.grid thead tr").last.locator("th").all_inner_texts()
    assert {"Accuracy %", "KL", "Cost ×", "Parameters"} <= set(titles)
    page.locator("#table-0").get_by_text("Papers, settings, seeds and commands").click()
    behind = page.locator("#row-0-0")
    best = kdbench_board.tables[0].rows[0].question.method
    assert kdbench_board.spec.described[best].title in behind.inner_text()
    assert behind.locator("code").count() == 5


def test_strings_from_plugins_and_records_do_nothing(
    kdbench_open: Callable[..., Seen], kdbench_record: Callable[..., Record]
) -> None:
    first = kdbench_record().question
    records = [
        kdbench_record(
            question=first.model_copy(
                update={"method": method, "seed": seed, "dataset": HOSTILE,
                        "hyperparameters": {HOSTILE: HOSTILE}}
            ),
            quality={"accuracy": 0.5 + place / 9 + seed / 50, HOSTILE: 0.5},
            losses={HOSTILE: 1.0}, settings=HOSTILE, notes=(HOSTILE,),
        )
        for place, method in enumerate(("scratch", HOSTILE))
        for seed in range(3)
    ]  # fmt: skip
    about = About(summary=HOSTILE, family=HOSTILE, authors=HOSTILE, title=HOSTILE, arxiv=HOSTILE)
    spec = BoardSpec(
        title=HOSTILE, about=HOSTILE, baselines=("scratch",), notes={HOSTILE: HOSTILE},
        described={HOSTILE: about},
    )  # fmt: skip
    plot = Plot(key="one", title=HOSTILE, caption=HOSTILE, svg="<svg></svg>")
    seen = kdbench_open(render(build(records, spec), [plot]))
    seen.page.locator("#table-0 table.grid a").first.click()
    drawer = seen.page.get_by_role("dialog")
    assert drawer.get_by_role("heading").first.inner_text().startswith("x</script>")
    assert seen.page.locator("img").count() == 0
    seen.page.keyboard.press("Escape")
    seen.page.get_by_label("Filter").fill("<img")
    assert len(seen.names()) == 1


def test_a_script_that_is_not_the_page_s_own_does_not_run(
    kdbench_browser: Browser, kdbench_digits: str, tmp_path: Path
) -> None:
    broken = kdbench_digits.replace(
        "</main>", "<script>document.title='run'</script><img src=http://example.invalid/x></main>"
    )
    (tmp_path / "broken.html").write_text(broken, "utf-8")
    page = kdbench_browser.new_page()
    failed: list[str] = []
    page.on("requestfailed", lambda request: failed.append(request.failure))
    page.goto((tmp_path / "broken.html").as_uri())
    assert page.title() == "Handwritten digits, 64 transfer images"
    assert set(failed) <= {"csp"}
    page.close()
