"""What a whole suite says about its board, whatever is selected of it. Prints nothing."""

from typing import TYPE_CHECKING

from kdbench import plan
from kdbench.errors import DataError
from kdbench.leaderboard import About, BoardSpec, Variation, read_spec
from kdbench.record import Pair, Spec
from kdbench.registry import Registry, data_dir
from kdbench.suite import Suite

if TYPE_CHECKING:
    from kdbench.cli.selection import Selection

__all__ = ["expected", "tuned"]


def expected(selection: "Selection") -> tuple[BoardSpec, list[str]]:
    """What the whole suite says about its board, and its data sets that are not here to be named.

    Data sets and pairs are named as questions name them: a user's own by content, never by path.
    Seeds are the suite's and those that the store's board has, or more if more are selected.
    """
    whole, registry, root = selection.whole, selection.registry, str(data_dir())
    datasets, absent = [], []
    for text in whole.asked("datasets"):
        try:
            datasets.append(registry.dataset(plan.dataset_spec(text, registry), root).name)
        except DataError as error:
            if text in selection.suite.asked("datasets"):
                raise
            absent.append(f"{text}: {error.what}")
    there = read_spec(selection.store.root)
    seeds = {*whole.axes.seeds, *(there.seeds if there else ())}
    seeds |= chosen if (chosen := set(selection.suite.axes.seeds)) >= seeds else set()
    spec = BoardSpec(
        suite=whole.name,
        title=whole.title,
        about=whole.about.strip(),
        baselines=whole.scoring.baselines,
        datasets=tuple(datasets),
        pairs=tuple(plan.pair_name(Pair.parse(text)) for text in whole.asked("pairs")),
        methods=whole.asked("methods"),
        seeds=tuple(sorted(seeds)),
        by_pair=tuned(whole),
        notes={name: settings.note for name, settings in whole.methods.items() if settings.note},
        described=_described(whole, registry),
        variants={} if absent else _variants(whole, registry, root),
        report=whole.report,
        claims=whole.claims,
    )
    return spec, absent


def _variants(suite: Suite, registry: Registry, root: str) -> dict[str, Variation]:
    """What is expected of each variant."""
    if not suite.variants:
        return {}
    keys = plan.tables(suite, registry, root)
    return {
        name: Variation(
            about=suite.variants[name].about,
            methods=one.axes.methods,
            tables=keys[name],
            place=place,
        )
        for place, (name, one) in enumerate(suite.varied())
    }


def _described(suite: Suite, registry: Registry) -> dict[str, About]:
    """What the plugins say of all methods that the suite or its baselines name."""
    asked = (Spec.parse(text) for text in (*suite.asked("methods"), *suite.scoring.baselines))
    entries = {
        member.name: registry.entry("method", member.name)
        for spec in asked
        for member in spec.members
    }
    fields = set(About.model_fields)
    return {
        name: About(
            summary=entry.summary,
            family=entry.family,
            **{key: value for key, value in entry.paper.items() if key in fields},
        )
        for name, entry in sorted(entries.items())
    }


def tuned(suite: Suite) -> dict[str, tuple[str, ...]]:
    """The methods with what the suite tunes for each pair, pairs as questions name them."""
    found = {}
    for pair in map(Pair.parse, suite.asked("pairs")):
        asked = (suite.tuned(Spec.parse(text), pair) for text in suite.asked("methods"))
        if tuned := tuple(str(spec) for spec in asked if spec):
            found[plan.pair_name(pair)] = tuned
    return found
