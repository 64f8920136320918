"""The parent's side of the child that imports plugins: ask, wait, and see how it died."""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from types import TracebackType
from typing import IO, Any, Self

from kdbench import errors
from kdbench.errors import KDBenchError, UsageError

__all__ = ["Child", "Died", "Raised"]

_START = (
    "import importlib, sys; _, module, *sys.path[:] = sys.argv; "
    "importlib.import_module(module).main()"
)


class Died(Exception):
    """The child ended, or had to be ended; says how, and file and line if it left them."""


class Raised(Exception):
    """What was asked for raised something else than one of the host's errors."""


def patience() -> float:
    """Seconds that a plugin may take to be imported: `KDBENCH_PLUGIN_TIMEOUT`, or 60."""
    text = os.environ.get("KDBENCH_PLUGIN_TIMEOUT", "60")
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(
            f"KDBENCH_PLUGIN_TIMEOUT={text} is no number", "it counts seconds", "set 60"
        ) from error


class Child:
    """A process for importing plugins; started when first asked, and again after it died.

    Args:
        module: Whose `main` answers.
    """

    def __init__(self, module: str = "kdbench.registry.child") -> None:
        self._module = module
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._printed: IO[bytes] | None = None
        self.asked: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def ask(self, question: dict[str, Any], seconds: float | None) -> Any:  # noqa: ANN401 - any JSON
        """The child's answer.

        Raises:
            KDBenchError: As the child raised it.
            Raised: The plugin raised something else; file, line and reason.
            Died: The child died of it, or was silent for `seconds`.
        """
        process = self._process or self._start()
        self.asked.add(question["do"])
        try:
            print(json.dumps(question), file=process.stdin, flush=True)
        except OSError:
            raise self._died(question) from None
        answer = self._wait(question, seconds)
        if "error" not in answer:
            return answer["ok"]
        kind = getattr(errors, answer["error"], None)
        if isinstance(kind, type) and issubclass(kind, KDBenchError):
            raise kind(*answer["parts"])
        raise Raised(answer["parts"][0])

    def _start(self) -> "subprocess.Popen[str]":
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
        self._answers = queue.SimpleQueue()
        # -P: a random.py in the working directory must not hide the standard library's.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, self._module, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._printed,
            text=True,
            encoding="utf-8",
        )
        self._listener = threading.Thread(
            target=self._listen, args=(self._process, self._answers), daemon=True
        )
        self._listener.start()
        try:
            self._wait({}, None)
        except Died as error:
            raise RuntimeError(
                f"the process that imports plugins does not start: {error}"
            ) from None
        return self._process

    @staticmethod
    def _listen(process: "subprocess.Popen[str]", answers: "queue.SimpleQueue[str]") -> None:
        if process.stdout:
            # closed here: closing would wait for a read that another thread is in
            with process.stdout as lines:
                for line in lines:
                    answers.put(line)
        answers.put("")

    def _wait(self, question: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        try:
            line = self._answers.get(timeout=seconds)
            return dict(json.loads(line))
        except queue.Empty:
            raise self._died(question, f"no answer for {seconds:g} s") from None
        except ValueError:
            raise self._died(question) from None

    def _died(self, question: dict[str, Any], hang: str = "") -> Died:
        """How the child ended; it is gone afterwards."""
        process, printed = self._process, self._printed
        if process is None or printed is None:
            return Died("the child was never started")
        if hang and hasattr(signal, "SIGABRT"):
            process.send_signal(signal.SIGABRT)  # the fault handler then says where it was
        try:
            code = process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        printed.seek(0)
        text = printed.read()[-100_000:].decode(errors="replace")
        self.close()
        how = hang or (
            f"killed by {signal.Signals(-code).name}"
            if code < 0
            else f"ended the process with exit code {code}"
        )
        path = question.get("source", {}).get("path", "")
        line = re.search(rf'File "{re.escape(path)}", line (\d+)', text) if path else None
        last = text.strip().splitlines()[-1:] if not path else []
        return Died(
            ": ".join([*([f"{path}:{line[1]}" if line else path] if path else []), how, *last])
        )

    def close(self) -> None:
        """End the child; nothing it still does is waited for."""
        process, self._process = self._process, None
        if process:
            process.kill()
            process.wait()
            if process.stdin:
                with suppress(OSError):  # of what it had not read
                    process.stdin.close()
            self._listener.join(1)  # a process that the plugin forked may still hold the line
        if self._printed:
            self._printed.close()
            self._printed = None
        self.asked.clear()
