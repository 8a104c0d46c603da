"""One Python interpreter: runs program after program in one namespace until it is ended.

Law: whatever a program raises is a result, and its traceback begins in the program.
"""

import ast
import errno
import io
import json
import linecache
import os
import sys
import traceback
import types
from typing import Any

from sandbox_fargate.runner import wire
from sandbox_fargate.runner.display import display
from sandbox_fargate.runner.figures import FigureCatcher

# The exit code of a Python program that raised.
RAISED = 1
# What a shell gives for a program ended by Ctrl-C.
INTERRUPTED = 130

# Errors by which a program shows that it met a limit.
ERRNO_LIMITS = {
    errno.ENOSPC: "disk",
    errno.EDQUOT: "disk",
    errno.EFBIG: "file_size",
    errno.ENOMEM: "memory",
    errno.EAGAIN: "processes",
    errno.EMFILE: "files",
}


class Interpreter:
    """The state that lives from program to program."""

    def __init__(self, outbound: int, caps: dict[str, Any]) -> None:
        """`outbound` is the descriptor to the supervisor."""
        self._outbound = outbound
        self._count = 0
        self._module = types.ModuleType("__main__")
        self._figures = FigureCatcher(self._send_figure, self._refuse, caps)
        self._value_max = caps["output_bytes"]
        self._refused = False

    def serve(self, inbound: int) -> None:
        """Run what comes in until the supervisor is gone."""
        # Pickle and multiprocessing look for a program's functions here.
        sys.modules["__main__"] = self._module
        self._figures.install()
        for stream in (sys.__stdout__, sys.__stderr__):
            if isinstance(stream, io.TextIOWrapper):
                # What is no Unicode is shown, not an error of the program.
                stream.reconfigure(errors="backslashreplace")
        own_pid = os.getpid()
        while (frame := wire.read(inbound)) is not None:
            exit_code, value = self.run(json.loads(frame[1])["code"])
            if os.getpid() != own_pid:
                # A child that the program forked and that came to the program's end.
                os._exit(exit_code)
            done = {"exit_code": exit_code, "value": value}
            wire.write(self._outbound, wire.pack_json(wire.DONE, done))

    def run(self, code: str) -> tuple[int, str | None]:
        """One program: its exit code and its value as text."""
        self._count += 1
        self._refused = False
        self._figures.begin()
        exit_code, value = self._attempt(lambda: self._execute(code))
        flushed, _ = self._attempt(self._finish)
        # A program that replaced them has ended.
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        if exit_code == 0:
            exit_code = flushed or int(self._refused)
        return exit_code, value

    def _execute(self, code: str) -> str | None:
        name = f"<program {self._count}>"
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
        tree = ast.parse(code, name)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        namespace = self._module.__dict__
        exec(compile(tree, name, "exec"), namespace)
        if not isinstance(last, ast.Expr):
            return None
        value = eval(compile(ast.Expression(last.value), name, "eval"), namespace)
        return self._cut(display(value))

    def _cut(self, value: str | None) -> str | None:
        if value is None or len(value) <= self._value_max:
            return value
        self._report_limit("output")
        note = "[the value is cut]"
        return value[: self._value_max - len(note)] + note

    def _finish(self) -> str | None:
        self._figures.install()
        self._figures.flush()
        for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
            if stream is not None and not stream.closed:
                stream.flush()
        return None

    def _attempt(self, step: Any) -> tuple[int, str | None]:
        """Do a step; whatever it raises becomes an exit code and a traceback."""
        try:
            return 0, step()
        except SystemExit as exc:
            if exc.code is None or isinstance(exc.code, int):
                return (exc.code or 0) & 0xFF, None
            self._say(f"{exc.code}\n")
            return RAISED, None
        except KeyboardInterrupt:
            return INTERRUPTED, None
        except BaseException as exc:
            limit = limit_of(exc)
            if limit is not None:
                self._report_limit(limit)
            self._say(report(exc))
            return RAISED, None

    def _send_figure(self, svg: bytes) -> None:
        wire.write(self._outbound, wire.pack(wire.FIGURE, svg))

    def _refuse(self, limit: str, reason: str) -> None:
        """Tell of a figure that is left out; the rest of the program goes on."""
        self._refused = True
        self._report_limit(limit)
        self._say(f"Figure refused: {reason}.\n")

    def _report_limit(self, limit: str) -> None:
        wire.write(self._outbound, wire.pack(wire.LIMIT, limit.encode("ascii")))

    def _say(self, text: str) -> None:
        """To the descriptor itself: a program may have replaced sys.stderr."""
        wire.write(2, text.encode("utf-8", "backslashreplace"))


def limit_of(error: BaseException) -> str | None:
    """The limit that an exception tells of, if any."""
    if isinstance(error, MemoryError):
        return "memory"
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return "processes"
    return ERRNO_LIMITS.get(error.errno or 0) if isinstance(error, OSError) else None


def report(error: BaseException) -> str:
    """A traceback that begins in the program, without the runner's own frames."""
    try:
        told = traceback.TracebackException.from_exception(error)
        _clean(told)
        return "".join(told.format())
    except Exception:
        # A program may raise what cannot be shown.
        return f"{type(error).__name__}\n"


def _clean(told: traceback.TracebackException) -> None:
    here = os.path.dirname(__file__)
    chain: traceback.TracebackException | None = told
    while chain is not None:
        kept = [frame for frame in chain.stack if not frame.filename.startswith(here)]
        # Of ast.parse and compile alone there is nothing of the program to show.
        if not any(frame.filename.startswith("<program") for frame in kept):
            kept = []
        chain.stack = traceback.StackSummary.from_list(kept)
        chain = chain.__cause__ or chain.__context__
