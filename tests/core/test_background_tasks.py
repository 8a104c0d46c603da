"""Work that outlives who began it: all of it ends, and best effort does not keep anybody."""

import asyncio

import pytest

from phigate.core.background_tasks import BackgroundTasks


class Work:
    """Work that goes on until it may end."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.ended: list[str] = []

    async def run(self, name: str) -> None:
        """Wait, then leave a mark."""
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.ended.append(f"{name} was given up")
            raise
        self.ended.append(name)

    async def fail(self) -> None:
        """Wait, then break."""
        await self.may_end.wait()
        raise ValueError("the text of a request")


async def turn() -> None:
    """Let everybody go on as far as they can."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.anyio
async def test_an_empty_set_is_idle() -> None:
    await BackgroundTasks().wait_idle()


@pytest.mark.anyio
async def test_what_is_shielded_goes_on_when_its_caller_is_cancelled() -> None:
    tasks, work = BackgroundTasks(), Work()
    caller = asyncio.ensure_future(tasks.run_shielded(work.run("settle")))
    await turn()
    caller.cancel()
    await turn()
    assert (caller.cancelled(), work.ended) == (True, [])
    work.may_end.set()
    await tasks.wait_idle()
    assert work.ended == ["settle"]


@pytest.mark.anyio
async def test_what_is_shielded_tells_its_caller_how_it_failed() -> None:
    tasks, work = BackgroundTasks(), Work()
    work.may_end.set()
    with pytest.raises(ValueError, match="a request"):
        await tasks.run_shielded(work.fail())


@pytest.mark.anyio
async def test_who_waits_for_idle_waits_also_for_what_begins_meanwhile() -> None:
    tasks, work, later = BackgroundTasks(), Work(), Work()

    async def begins_more() -> None:
        await work.run("first")
        tasks.spawn(later.run("second"))

    tasks.spawn(begins_more())
    idle = asyncio.ensure_future(tasks.wait_idle())
    await turn()
    work.may_end.set()
    await turn()
    assert not idle.done()
    later.may_end.set()
    await idle
    assert (work.ended, later.ended) == (["first"], ["second"])


@pytest.mark.anyio
async def test_one_that_fails_ends_no_other_and_is_not_written_by_the_loop() -> None:
    tasks, work = BackgroundTasks(), Work()
    written: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: written.append(context))
    tasks.spawn(work.fail())
    tasks.spawn(work.run("other"))
    idle = asyncio.ensure_future(tasks.wait_idle())
    await turn()
    work.may_end.set()
    await idle
    assert (work.ended, written) == (["other"], [])


@pytest.mark.anyio
async def test_who_waits_for_idle_and_is_cancelled_ends_nothing() -> None:
    tasks, work = BackgroundTasks(), Work()
    tasks.spawn(work.run("settle"))
    idle = asyncio.ensure_future(tasks.wait_idle())
    await turn()
    idle.cancel()
    await turn()
    work.may_end.set()
    await tasks.wait_idle()
    assert work.ended == ["settle"]


@pytest.mark.anyio
async def test_best_effort_is_waited_for_a_moment_then_given_up() -> None:
    tasks, quick, slow = BackgroundTasks(), Work(), Work()
    quick.may_end.set()
    tasks.spawn_best_effort(quick.run("quick"))
    tasks.spawn_best_effort(slow.run("slow"))
    await tasks.wait_idle()
    await turn()
    assert (quick.ended, slow.ended) == (["quick"], ["slow was given up"])
