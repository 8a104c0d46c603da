"""One sandbox server as a child of this process: started, watched, ended.

Law: it ends with this process, also when it is killed: it asks the kernel for that itself, and is
told for whom by `--parent`. Its environment holds the hash of its token and nothing of ours.
"""

import asyncio
import contextlib
import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path

from phigate.effects.sandbox.session import token_sha256

HOST = "127.0.0.1"
# The libraries are loaded in 1.1 to 1.9 s; eight at once on two processors take four times that.
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 8.0  # it ends within 0.1 s; when its jail is stuck it takes 5 s
EXIT_TIMEOUT_S = 0.5  # from the end of a process's output to its end
LEFTOVER_TIMEOUT_S = 1.0  # what a pipe holds is 64 KB
LINE_BYTES_MAX = 1024
# Its exit code when this machine cannot have a sandbox.
EXIT_UNAVAILABLE = 3
HASH_VARIABLE = "PHIGATE_SANDBOX_TOKEN_SHA256"

_LISTENING = re.compile(rb"listening (127\.0\.0\.1:[0-9]{1,5})\n")
_READY = b"ready\n"
_COMPLAINT_BYTES = 300


@dataclass(frozen=True, slots=True)
class Launch:
    """The server's command without the flags that are set here, the folder it starts in, and how
    long it may take to start, to stop when it is told to, and to exit when its output has ended."""

    command: tuple[str, ...]
    folder: Path
    start_timeout_s: float = START_TIMEOUT_S
    stop_timeout_s: float = STOP_TIMEOUT_S
    exit_timeout_s: float = EXIT_TIMEOUT_S


def bwrap_launch(*, python: str, root: Path, venv: Path) -> Launch:
    """The server of a checkout at `root`, with the libraries of `venv`, in bubblewrap."""
    command = (python, "-m", "sandbox_fargate.server", "--launcher", "bwrap", "--venv", str(venv))
    return Launch(command, root)


class ServerFailed(Exception):  # named by what happened
    """A server did not become ready. `is_for_good`: nothing on this machine will make it so."""

    def __init__(self, reason: str, *, is_for_good: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_for_good = is_for_good


class SandboxServer:
    """A running server. Make it with `start_server`, end it with `end`."""

    def __init__(
        self, process: asyncio.subprocess.Process, launch: Launch, token: str, started_s: float
    ) -> None:
        self.token = token
        self.started_s = started_s
        self.base_url = ""
        self.complaint = b""
        self._process = process
        self._launch = launch
        self._listening = asyncio.ensure_future(self._listen())
        self._discarding: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.returncode is None

    async def wait(self, timeout_s: float) -> None:
        """Wait for its end, so long at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._process.wait()

    async def end(self) -> None:
        """End it with its jail; when it does not end by itself, by force."""
        self._discard_rest()
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(self._launch.stop_timeout_s):
                await self._process.wait()
        except TimeoutError:
            # It leads a process group of its own; its jail ends with it, by the kernel.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self.wait(STOP_TIMEOUT_S)  # the kernel ends it
        finally:
            # Only a pipe that was read to its end is closed before its reader is collected.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEFTOVER_TIMEOUT_S):
                    await asyncio.gather(self._listening, self._discard_rest())

    async def become_ready(self) -> None:
        """Wait for its two lines. Raises ServerFailed."""
        timeout_s = self._launch.start_timeout_s
        is_listening = False
        try:
            async with asyncio.timeout(timeout_s):
                found = _LISTENING.fullmatch(await self._line())
                if found is not None:
                    is_listening = True
                    self.base_url = f"http://{found[1].decode('ascii')}"
                    if await self._line() == _READY:
                        return
                # The end of its output, or a line that nobody knows: what it says is the reason.
                self._discard_rest()
                await self.wait(self._launch.exit_timeout_s)
                if self.is_alive:
                    # Only now: a signal to a process that is just ending hides its exit code.
                    self._process.terminate()
                code = await self._process.wait()
                await self._listening
        except TimeoutError:
            reason = f"it was not ready after {timeout_s:g} s"
            raise ServerFailed(reason, is_for_good=False) from None
        is_for_good = code == EXIT_UNAVAILABLE and not is_listening
        raise ServerFailed(self._reason(code), is_for_good=is_for_good)

    def _discard_rest(self) -> asyncio.Task[None]:
        """Read stdout to its end: asyncio sees a process end only when its pipes have."""
        if self._discarding is None:
            self._discarding = asyncio.ensure_future(self._discard())
        return self._discarding

    async def _discard(self) -> None:
        assert self._process.stdout is not None  # noqa: S101  # it was started with pipes
        while await self._process.stdout.read(LINE_BYTES_MAX):
            pass

    async def _line(self) -> bytes:
        assert self._process.stdout is not None  # noqa: S101  # it was started with pipes
        try:
            return await self._process.stdout.readline()
        except ValueError:
            return b""  # a line without an end

    async def _listen(self) -> None:
        """Keep the end of its log, which has counts and names; a full pipe would stop it."""
        assert self._process.stderr is not None  # noqa: S101  # it was started with pipes
        while piece := await self._process.stderr.read(LINE_BYTES_MAX):
            self.complaint = (self.complaint + piece)[-_COMPLAINT_BYTES:]

    def _reason(self, code: int) -> str:
        lines = self.complaint.decode("utf-8", "replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), f"it exited with {code}")
        return "".join(each for each in last if each.isprintable()).removeprefix("no sandbox: ")


async def start_server(launch: Launch, *, token: str, started_s: float) -> SandboxServer:
    """A server that is ready for its first program. Raises ServerFailed; leaves nothing then."""
    variables = {HASH_VARIABLE: token_sha256(token), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    try:
        process = await asyncio.create_subprocess_exec(
            *launch.command,
            *("--listen", f"{HOST}:0", "--parent", str(os.getpid())),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX,
            cwd=launch.folder,
            env=variables,
            # Ctrl-C reaches the gateway alone, which then ends its sandboxes.
            start_new_session=True,
        )
    except OSError as exc:
        raise ServerFailed(f"{exc.strerror}: {launch.command[0]}", is_for_good=False) from exc
    server = SandboxServer(process, launch, token, started_s)
    try:
        await server.become_ready()
    except BaseException:
        await server.end()
        raise
    return server
