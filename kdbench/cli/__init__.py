"""The command line: commands, and how errors become three short lines and an exit code."""

import difflib
import os
import re
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from kdbench.cli import (
    board,
    checking,
    citing,
    compare,
    data,
    metrics,
    new,
    planning,
    reading,
    report,
    reproduction,
    results,
    run,
    showing,
    speed,
    weights,
)
from kdbench.cli.interruption import Terminated
from kdbench.cli.output import clean
from kdbench.errors import ExitCode, KDBenchError

__all__ = ["app", "main"]

_EPILOG = (
    "Exit codes: 0 all well, 1 some trials not ok, 2 usage or suite error, 3 a bug of kdbench, "
    "4 environment or plugin broken, 5 nothing selected, 6 a check failed, 130/143 interrupted "
    "with records saved."
)

app = typer.Typer(
    name="kdbench",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_EPILOG,
)


def _version(asked: bool) -> None:
    if asked:
        from kdbench import __version__

        print(f"kdbench {__version__}")
        raise typer.Exit


@app.callback()
def kdbench(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Benchmark knowledge distillation: fidelity, accuracy and cost, paired by construction."""


# All commands, in the order of the help page. Their modules import what is heavy inside of the
# commands: `--help` and the reading commands never import torch, pandas or scipy.
app.command("run", rich_help_panel="Run")(run.run)
app.command("plan", rich_help_panel="Run")(planning.plan)
app.command("prepare", rich_help_panel="Run")(data.prepare)
app.command("leaderboard", rich_help_panel="Run")(board.leaderboard)
app.command("report", rich_help_panel="Run")(report.report)
app.command("export", rich_help_panel="Run")(weights.export)
app.command("export-results", rich_help_panel="Run")(results.export_results)
app.command("import", rich_help_panel="Run")(results.import_)
app.add_typer(metrics.app, name="metrics", rich_help_panel="Run")
app.command("reproduce", rich_help_panel="Run")(reproduction.reproduce)
app.command("list", rich_help_panel="Look")(reading.list_)
app.command("show", rich_help_panel="Look")(showing.show)
app.command("cite", rich_help_panel="Look")(citing.cite)
app.command("plugins", rich_help_panel="Look")(reading.plugins)
app.command("compare", rich_help_panel="Look")(compare.compare)
app.command("speed", rich_help_panel="Look")(speed.speed)
app.add_typer(new.app, name="new", rich_help_panel="Extend")
app.command("check", rich_help_panel="Extend")(checking.check)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (of this process by default); its exit code."""
    if not sys.stdout.isatty():
        # typer takes a continuous-integration service for a terminal and colors its logs
        os.environ.setdefault("_TYPER_FORCE_DISABLE_TERMINAL", "1")
    try:
        result = app(arguments, prog_name="kdbench", standalone_mode=False)
        return result if isinstance(result, int) else ExitCode.OK
    except KDBenchError as error:
        return _say(error.what, error.why, error.next, error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _say("interrupted", "", "", ExitCode.INTERRUPTED)
    except Terminated:
        return _say("terminated", "", "", ExitCode.TERMINATED)
    except Exception as error:  # noqa: BLE001 - what is left is a bug, and is said to be one
        # typer's own, whichever click it carries
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):
            return _usage(error)
        import traceback

        traceback.print_exc()
        return _say(
            f"{type(error).__name__} in kdbench",
            "this is a bug",
            "please report it with the lines above",
            ExitCode.BUG,
        )


def _say(what: str, why: str, then: str, code: int) -> int:
    """Print an error, a line each; its exit code."""
    lines = [" ".join(clean(line).split()) for line in (what, why, then) if line]
    print("\n  ".join([f"error: {lines[0]}", *lines[1:]]), file=sys.stderr)
    return int(code)


def _usage(error: Exception) -> int:
    """A wrong command line in three lines, with what may have been meant; its exit code."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "kdbench"
    if type(error).__name__ == "NoArgsIsHelpError":
        text = error.format_message()  # type: ignore[attr-defined]  # it was looked for; with rich, this prints the help
        if text.strip():
            print(text)
        return int(ExitCode.USAGE)
    text = error.format_message().replace("Value error, ", "")  # type: ignore[attr-defined]  # as above
    what, _, meant = re.sub(r"\s*\(Possible options: .*\)", "", text).partition(" Did you mean")
    if option := getattr(error, "option_name", ""):
        parameters = context.command.params if context else ()
        known = [name for parameter in parameters for name in parameter.opts]
        close = difflib.get_close_matches(option, [*known, "--help"], 1)
        meant = f" {close[0]!r}?" if close else ""
    elif choice := re.search(r"'([^']*)' is not one of (.*)", text):
        close = difflib.get_close_matches(choice[1], re.findall(r"'([^']*)'", choice[2]), 1)
        meant = f" {close[0]!r}?" if close else ""
    what = what[:1].lower() + what[1:].rstrip(".")
    why = f"did you mean{meant}" if meant else ""
    return _say(what, why, f"see {command} --help", ExitCode.USAGE)
