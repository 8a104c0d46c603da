"""Connections that are handed out: real sockets, and nothing between."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from local.handover import hand_out, listen
from phigate.effects.handed_socket import handed_socket, handed_socket_now
from phigate.effects.posts import Bounds, Posts
from tests.fakes import FakeClock

pytestmark = pytest.mark.anyio

Connect = Callable[[], socket.socket]


def offered(folder: Path, connect: Connect) -> str:
    """The path of a socket at which `connect`'s sockets are handed out until the process ends."""
    path = folder / "engine.sock"
    listener = listen(path)
    threading.Thread(target=hand_out, args=(listener, connect), daemon=True).start()
    return str(path)


def half_a_pair() -> socket.socket:
    """What an engine of the same process hands out; here nobody has the other half."""
    ours, theirs = socket.socketpair()
    ours.close()
    return theirs


def not_yet() -> socket.socket:
    """What an engine that does not listen yet answers."""
    raise ConnectionRefusedError


async def test_whoever_comes_before_the_engine_listens_is_sent_away(tmp_path: Path) -> None:
    path = offered(tmp_path, not_yet)
    with pytest.raises(ConnectionRefusedError):
        await handed_socket(path)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.to_thread(handed_socket_now, path, 1.0)


async def test_a_socket_that_was_left_behind_is_a_refusal(tmp_path: Path) -> None:
    listen(tmp_path / "engine.sock").close()
    with pytest.raises(ConnectionRefusedError):
        await handed_socket(str(tmp_path / "engine.sock"))


async def test_a_process_that_hands_nothing_out_is_given_up_in_time(tmp_path: Path) -> None:
    with listen(tmp_path / "engine.sock"):
        posts = Posts(
            endpoint=f"unix:{tmp_path}/engine.sock",
            clock=FakeClock(),
            bounds=Bounds(1, connect_timeout_s=0.05, unused_max_s=20.0, answer_timeout_s=1.0),
        )
        with pytest.raises(TimeoutError):
            await posts.post({}, b"{}")
        await posts.close()


async def test_what_is_handed_over_goes_to_no_child(tmp_path: Path) -> None:
    with await handed_socket(offered(tmp_path, half_a_pair)) as connected:
        assert not os.get_inheritable(connected.fileno())


def test_the_socket_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with listen(tmp_path / "engine.sock"):
            assert (tmp_path / "engine.sock").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)
