"""`kdbench check`: whether methods keep the contracts that kdbench ships."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from kdbench.cli.options import AsJson, NoPlugin, PluginsDir, select
from kdbench.cli.output import heading, json_out, say
from kdbench.errors import ExitCode

if TYPE_CHECKING:
    from kdbench.record import Spec
    from kdbench.registry import Source
    from kdbench.testing import Finding

NOT_CHECKED = (
    "how well a student learns from it: kdbench run",
    "whether its formula is the paper's: compare with numbers that its code did not make",
    "what it does on a GPU, and what it costs: kdbench run",
)
"""What no contract can see, and where to look."""

_PATIENCE = 120.0
"""Seconds that one contract may take."""


def check(
    methods: Annotated[
        list[str],
        typer.Argument(
            metavar="METHOD...", help=r"Methods, as 'kd\[temperature=2]', or plugin files."
        ),
    ],
    as_json: AsJson = False,
    plugins_dir: PluginsDir = None,
    no_plugin: NoPlugin = None,
) -> int:
    """Check that methods keep every contract, in processes that may die; seconds a method."""
    from concurrent.futures import ThreadPoolExecutor

    from kdbench.engine import cores
    from kdbench.record import Spec

    registry, names = select(methods, plugins_dir, no_plugin)
    specs = [Spec.parse(name) for name in names]
    facts = registry.methods(specs)  # an unknown option, or an impossible value, is said at once
    sources = [facts[spec].sources for spec in specs]
    found = {}
    with ThreadPoolExecutor(min(len(specs), cores())) as pool:
        for spec, one in zip(specs, pool.map(_examined, specs, sources), strict=True):
            found[str(spec)] = one
            if not as_json:
                _print(str(spec), one)
    if as_json:
        told = {name: [asdict(finding) for finding in one] for name, one in found.items()}
        json_out({"methods": told, "not_checked": NOT_CHECKED})
    else:
        _print_end([finding for one in found.values() for finding in one])
    failed = any(finding.state == "fails" for one in found.values() for finding in one)
    return int(ExitCode.CHECK_FAILED if failed else ExitCode.OK)


def _examined(spec: "Spec", sources: "Sequence[Source]") -> "list[Finding]":
    """What is found of one method, by a child process that is started again after it died."""
    from kdbench.registry.process import Child, Died, Raised
    from kdbench.testing.finding import Finding, findings

    places = [vars(source) for source in sources]
    question = {"do": "check", "source": places[0], "sources": places, "spec": str(spec)}
    with Child("kdbench.testing.child") as child:
        promises = child.ask({"do": "promises"}, None)

        def ask(name: str) -> Finding:
            try:
                return Finding(**child.ask({**question, "contract": name}, _PATIENCE))
            except (Died, Raised) as error:
                then = "let the plugin raise Unsupported where it can do nothing"
                return Finding(
                    contract=name, promise=promises[name], state="fails", why=str(error), next=then
                )

        return list(findings(promises, ask))


def _print(name: str, found: "Sequence[Finding]") -> None:
    """A line a contract."""
    heading(name)
    for one in found:
        why = f": {one.why}" if one.why else ""
        place = f" ({one.where})" if one.where else ""
        then = f"; {one.next}" if one.next else ""
        say(f"  {one.state:<11} {one.contract}{why}{place}{then}")


def _print_end(found: "Sequence[Finding]") -> None:
    """What was checked, and what was not."""
    states = [one.state for one in found]
    words = {
        "ok": "kept",
        "fails": "broken",
        "unsupported": "unsupported",
        "unchecked": "unchecked",
    }
    counted = (f"{states.count(s)} {word}" for s, word in words.items() if s in states)
    say(f"\nchecked: {len(found)} contracts on tiny networks and noise: {', '.join(counted)}")
    say("not checked:")
    for one in NOT_CHECKED:
        say(f"  {one}")
