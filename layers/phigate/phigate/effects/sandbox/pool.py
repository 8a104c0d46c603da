"""Sandboxes on this machine: warm servers that nobody has used, each used once and replaced.

Laws: a server that was handed out never comes back; a start is the pool's and not its caller's, so
a caller who is cancelled leaves a warm server and not a stray one; a start that fails is tried once
more and then only when somebody asks again. What the pool started ends with it.
"""

import asyncio
import contextlib
import secrets
from collections import deque
from functools import partial

from phigate.core.background_tasks import BackgroundTasks
from phigate.core.clock import Clock
from phigate.core.errors import SandboxError
from phigate.core.event_log import EventLog
from phigate.core.sandbox.port import Sandbox
from phigate.effects.sandbox.server import Launch, SandboxServer, ServerFailed, start_server
from phigate.effects.sandbox.session import HttpSandbox, token_of

SIZE = 2
# More at once only make each of them later: a start is 1.1 to 1.9 s of one processor.
STARTS_AT_ONCE = 2
OPEN_TIMEOUT_S = 60.0  # two starts of 20 s, with two others before them
# A server gives itself 3,600 s without a program; one that is taken lives 300 s more at most.
AGE_MAX_S = 3_000.0
TEND_INTERVAL_S = 10.0
# After a start that failed nothing is started for the pool alone; where something is missing on
# this machine, nobody is kept waiting to hear it again.
PAUSE_S = 60.0
LATE_S = 10.0  # a sandbox that nobody closed ends so long after its time
NONCE_BYTES = 16


class LocalSandboxes:
    """Implements core.sandbox.port.Sandboxes. Use it from one event loop, then `close` it."""

    def __init__(
        self,
        *,
        launch: Launch,
        secret: bytes,
        clock: Clock,
        event_log: EventLog,
        image: str = "bwrap",
        size: int = SIZE,
        tend_interval_s: float = TEND_INTERVAL_S,
    ) -> None:
        self._launch = launch
        self._secret = secret
        self._clock = clock
        self._event_log = event_log
        self._image = image
        self._size = size
        self._tend_interval_s = tend_interval_s
        self._ready: deque[SandboxServer] = deque()
        self._waiting: deque[asyncio.Future[SandboxServer]] = deque()
        self._out: dict[SandboxServer, HttpSandbox] = {}
        self._starts: set[asyncio.Task[None]] = set()
        self._background = BackgroundTasks()
        self._tending: asyncio.Task[None] | None = None
        # Why nothing can be had here, and until when nothing is started for the pool alone.
        self._missing = ""
        self._paused_until_s = 0.0
        self._is_closed = False

    @property
    def pids(self) -> list[int]:
        """The servers that wait for a request, warm and unused."""
        return [server.pid for server in self._ready]

    def begin(self) -> None:
        """Start warming; does not wait."""
        if self._tending is None:
            self._tending = asyncio.ensure_future(self._tend())

    async def banner(self) -> str:
        """One line for the start: that sandboxes are warm, or why there are none."""
        try:
            self._give_back(await self._wait_for_one(OPEN_TIMEOUT_S))
        except SandboxError as exc:
            return exc.message
        return f"{self._size} kept warm, one a request"

    async def open(self, *, account: str, request_id: str, region: str, until_s: float) -> Sandbox:
        """See Sandboxes. Every region is here."""
        self.begin()
        server = self._take()
        if server is None:
            server = await self._wait_for_one(min(OPEN_TIMEOUT_S, until_s - self._clock.now_s()))
        self._refill()
        sandbox = HttpSandbox(
            base_url=server.base_url,
            token=server.token,
            image=self._image,
            end=partial(self._ended, server),
        )
        self._out[server] = sandbox
        self._background.spawn(self._end_at(server, until_s + LATE_S))
        return sandbox

    async def close(self) -> None:
        """End every server, used or not, and whatever is being started. Twice is once."""
        self._is_closed = True
        tasks = [*self._starts, *([self._tending] if self._tending else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._fail(len(self._waiting), "the stack ends")
        while self._ready:
            self._background.spawn(self._ready.popleft().end())
        for sandbox in list(self._out.values()):
            self._background.spawn(sandbox.close())
        # Those that wait for their time to be over see that their server has ended.
        await self._background.wait_idle()

    def _take(self) -> SandboxServer | None:
        """A warm server that is alive and young."""
        oldest_s = self._clock.now_s() - AGE_MAX_S
        while self._ready:
            server = self._ready.popleft()
            if server.is_alive and server.started_s > oldest_s:
                return server
            self._retire(server)
        return None

    async def _wait_for_one(self, patience_s: float) -> SandboxServer:
        """The next server that becomes ready, for those who wait in turn. Raises SandboxError."""
        if self._is_closed:
            raise _none("the stack ends")
        if self._missing and self._clock.now_s() < self._paused_until_s:
            raise _none(self._missing)
        waiter: asyncio.Future[SandboxServer] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._refill()
        try:
            async with asyncio.timeout(patience_s):
                return await waiter
        except BaseException as exc:
            with contextlib.suppress(ValueError):
                self._waiting.remove(waiter)
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                # It came in the moment in which its caller went.
                self._give_back(waiter.result())
            if isinstance(exc, TimeoutError):
                raise _none("none became ready in time") from None
            raise

    def _give_back(self, server: SandboxServer) -> None:
        """An unused server goes to who waits longest, to the pool, or away."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(server)
                return
        if self._is_closed or len(self._ready) >= self._size:
            self._background.spawn(server.end())
        else:
            self._ready.append(server)

    def _refill(self) -> None:
        """Have as many on their way as are wanted, within the number of starts at once."""
        if self._is_closed:
            return
        wanted = len(self._waiting)
        if self._clock.now_s() >= self._paused_until_s:
            wanted += self._size - len(self._ready)
        while len(self._starts) < min(wanted, STARTS_AT_ONCE):
            task = asyncio.ensure_future(self._start())
            self._starts.add(task)
            task.add_done_callback(self._starts.discard)

    async def _start(self) -> None:
        """One more server, for whoever waits or the pool; a failure is the first waiter's."""
        failure: ServerFailed | None = None
        for _ in range(2):
            try:
                server = await self._started()
            except ServerFailed as exc:
                failure = exc
                if exc.is_for_good:
                    break
            else:
                self._missing, self._paused_until_s = "", 0.0
                self._give_back(server)
                self._after(asyncio.current_task())
                return
        assert failure is not None  # noqa: S101  # the loop ends otherwise with a server
        self._event_log.record("sandbox_start_failed", is_for_good=failure.is_for_good)
        self._missing = failure.reason if failure.is_for_good else ""
        self._paused_until_s = self._clock.now_s() + PAUSE_S
        self._fail(len(self._waiting) if failure.is_for_good else 1, failure.reason)
        self._after(asyncio.current_task())

    def _after(self, start: asyncio.Task[None] | None) -> None:
        """A start has come to its end: its place is free for the next one."""
        if start is not None:
            self._starts.discard(start)
        self._refill()

    async def _started(self) -> SandboxServer:
        token = token_of(self._secret, secrets.token_hex(NONCE_BYTES))
        return await start_server(self._launch, token=token, started_s=self._clock.now_s())

    def _fail(self, count: int, reason: str) -> None:
        for _ in range(min(count, len(self._waiting))):
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(_none(reason))

    async def _tend(self) -> None:
        """Replace pooled servers that have died or are too old; a pause bounds how often."""
        while True:
            oldest_s = self._clock.now_s() - AGE_MAX_S
            for server in list(self._ready):
                if not server.is_alive or server.started_s <= oldest_s:
                    self._ready.remove(server)
                    self._retire(server)
            self._refill()
            await asyncio.sleep(self._tend_interval_s)

    def _retire(self, server: SandboxServer) -> None:
        self._event_log.record("sandbox_replaced", alive=server.is_alive)
        self._background.spawn(server.end())

    async def _end_at(self, server: SandboxServer, time_s: float) -> None:
        """The sandbox ends at its time, also where nobody closes it."""
        while server in self._out and (left_s := time_s - self._clock.now_s()) > 0:
            await server.wait(min(left_s, self._tend_interval_s))
            if not server.is_alive:
                return
        if server in self._out:
            await self._out[server].close()

    async def _ended(self, server: SandboxServer) -> None:
        await server.end()
        self._out.pop(server, None)


def _none(reason: str) -> SandboxError:
    return SandboxError(f"There is no sandbox: {reason}.")
