"""A report as Markdown, for a forge."""

from collections.abc import Iterable, Sequence

from tabulate import tabulate

from kdbench.leaderboard.claims import words
from kdbench.leaderboard.claims.findings import Finding, Shown
from kdbench.leaderboard.claims.report import Answered
from kdbench.leaderboard.claims.verdicts import WORDS
from kdbench.leaderboard.text import markdown

_SIGNS = {f"&#{ord(sign)};": sign for sign in "×±–−"}


def render(report: Answered) -> str:
    """The whole report; ends in one newline."""
    said = report.report
    blocks = [f"# {_text(report.title)}"]
    blocks += [f"**{_text(said.question)}**"] if said.question else []
    blocks.append(f"**{_text(report.verdict)}**")
    blocks += [_text(text) for text in (report.spec.about, said.setting) if text]
    if report.findings:
        blocks += ["## Claims", _claims(report.findings), _text(words.CLAIMS)]
        blocks.append(_text(report.multiplicity))
    if report.series:
        blocks.append("## Published and measured")
        for one in report.series:
            blocks += [f"### {_text(one.series.title)}", _series(one)]
    blocks += ["## Teachers", _text(words.teachers(report))]
    blocks += [_list(words.doubtful(report))] if words.doubtful(report) else []
    blocks += ["## What was run", _pairs(words.run(report))]
    if report.run.failures:
        blocks += ["Missing or failed, and so in no mean:", _list(report.run.failures)]
    blocks += ["## How verdicts are made", _text(words.how(report)), _pairs(report.rules)]
    blocks += ["## Papers", _list(said.papers)] if said.papers else []
    return "\n\n".join(blocks) + "\n"


def _claims(findings: Iterable[Finding]) -> str:
    header = ["Verdict", "Claim", "Published", "Ours", "n", "Tables", "Claimed", "Why"]
    grid = [
        [
            f"**{WORDS[one.verdict]}**",
            _text(one.claim.says),
            _text(words.published(one)),
            _text(one.unit.span(one.estimate)),
            str(one.estimate.n if one.estimate else 0),
            str(one.tables),
            _text(words.claimed(one)),
            _text(" ".join((one.why, *one.notes))),
        ]
        for one in findings
    ]
    return _grid(grid, header, "lllrrrll")


def _series(one: Shown) -> str:
    unit, header = words.unit(one), ["", "Published", "Ours", "n"]
    grid = [
        [
            _text(figure.point.label),
            _text(words.printed(one, figure)),
            _text(unit.span(figure.ours) if figure.ours else figure.why),
            str(figure.ours.n if figure.ours else 0),
        ]
        for figure in one.figures
    ]
    return f"{_text(words.caption(one))}\n\n{_grid(grid, header, 'lrrr')}"


def _grid(grid: Sequence[Sequence[str]], header: Sequence[str], sides: str) -> str:
    align = [{"l": "left", "r": "right"}[side] for side in sides]
    return tabulate(grid, header, tablefmt="pipe", disable_numparse=True, colalign=align)


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {_text(line)}" for line in lines)


def _pairs(lines: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"- **{_text(name)}**: {_text(line)}" for name, line in lines)


def _text(text: str) -> str:
    safe = markdown(text, 5000)
    for entity, sign in _SIGNS.items():
        safe = safe.replace(entity, sign)
    return safe
