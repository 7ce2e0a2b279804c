"""A successor and a predecessor on a real Unix socket, each with little behind it."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
import trio
import trio.testing

from isthmus_proxy.handover.channel import KIND, Channel, connect, listen, trusted
from isthmus_proxy.handover.messages import (
    MAX_BYTES,
    MAX_SOCKETS,
    Ask,
    Counters,
    CounterValues,
    HandoverError,
    Refused,
    SocketName,
    Sockets,
)
from isthmus_proxy.handover.predecessor import Predecessor
from isthmus_proxy.handover.successor import Successor, meet


class Serving:
    """A proxy with ``count`` sockets."""

    def __init__(self, count: int = 1) -> None:
        self.socks = [socket.socket() for _ in range(count)]
        for sock in self.socks:
            sock.bind(("127.0.0.1", 0))
        self.counted: dict[str, dict[str, int]] = {"http.in": {"rq": 3}}
        self.steps: list[str] = []

    def sockets(self) -> Iterable[tuple[SocketName, socket.socket]]:
        return [(SocketName(f"l{number}", "127.0.0.1:0"), sock) for number, sock in enumerate(self.socks)]

    def counters(self) -> Counters:
        return {scope: dict(values) for scope, values in self.counted.items()}

    async def step_back(self) -> None:
        self.steps.append("back")


class Scene:
    """A predecessor that runs."""

    def __init__(self, path: Path, count: int, epoch: int) -> None:
        self.serving = Serving(count)
        self.superseded = trio.Event()
        self.predecessor = Predecessor(path, epoch, self.serving, self.superseded.set)


@contextlib.asynccontextmanager
async def running(path: Path, count: int = 1, epoch: int = 0) -> AsyncIterator[Scene]:
    scene = Scene(path, count, epoch)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.predecessor.run)
        yield scene
        await scene.predecessor.finish()
        nursery.cancel_scope.cancel()
    for sock in scene.serving.socks:
        sock.close()


async def succeed(path: Path) -> Successor:
    successor = await meet(path)
    assert successor is not None
    return successor


def test_sockets_counters_and_the_end(tmp_path: Path) -> None:
    path = tmp_path / "handover"
    counted: list[Counters] = []

    async def main() -> None:
        async with running(path, epoch=4) as scene:
            successor = await succeed(path)
            assert successor.epoch == 5
            assert scene.serving.steps == [], "both serve"
            (sock,) = successor.sockets.values()
            assert sock.getsockname() == scene.serving.socks[0].getsockname()
            await successor.take_over(counted.append)
            assert scene.serving.steps == ["back"]
            await scene.superseded.wait()
            scene.serving.counted["http.in"]["rq"] = 5
            await scene.predecessor.finish()
            await successor.listen_on(counted.append, 5)
            successor.close()

    trio.run(main)
    assert counted == [{"http.in": {"rq": 3}}, {"http.in": {"rq": 2}}]


def test_more_sockets_than_one_message_takes(tmp_path: Path) -> None:
    path = tmp_path / "handover"
    count = 2 * MAX_SOCKETS + 1

    async def main() -> None:
        async with running(path, count) as scene:
            successor = await succeed(path)
            names = {name.listener: sock.getsockname() for name, sock in successor.sockets.items()}
            assert names == {f"l{number}": sock.getsockname() for number, sock in enumerate(scene.serving.socks)}
            successor.close()

    trio.run(main)


def test_one_that_has_no_sockets_can_be_succeeded(tmp_path: Path) -> None:
    path = tmp_path / "handover"

    async def main() -> None:
        async with running(path, 0) as scene:
            successor = await succeed(path)
            assert successor.sockets == {}
            await successor.take_over(lambda _counters: None)
            assert scene.serving.steps == ["back"]
            successor.close()

    trio.run(main)


def test_nobody_there(tmp_path: Path) -> None:
    async def main() -> None:
        assert await meet(tmp_path / "handover") is None
        with socket.socket(socket.AF_UNIX, KIND) as dead:
            dead.bind(str(tmp_path / "dead"))
        assert await meet(tmp_path / "dead") is None, "a file that a killed process left"

    trio.run(main)


def test_a_successor_that_goes_away_changes_nothing_and_another_may_come(tmp_path: Path) -> None:
    path = tmp_path / "handover"

    async def main() -> None:
        async with running(path) as scene:
            for _ in range(3):
                successor = await succeed(path)
                successor.close()
                await trio.testing.wait_all_tasks_blocked(0.01)
            assert scene.serving.steps == []
            last = await succeed(path)
            await last.take_over(lambda _counters: None)
            assert scene.serving.steps == ["back"]
            last.close()

    trio.run(main)


def test_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "handover"

    async def main() -> None:
        async with running(path):
            first = await succeed(path)
            with pytest.raises(HandoverError, match="another process is taking over already"):
                await meet(path)
            first.close()

    trio.run(main)


def test_another_version_and_another_order_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "handover"

    async def ask(message: Ask) -> object:
        channel = connect(path)
        assert channel is not None
        await channel.send(message, 5)
        try:
            answer, _ = await channel.receive(5)
        except HandoverError as error:
            return str(error)
        finally:
            channel.close()
        return answer

    async def main() -> None:
        async with running(path) as scene:
            answer = await ask(Ask("sockets", version=2))
            assert isinstance(answer, Refused)
            assert "version 1 of the protocol, not 2" in answer.reason
            assert await ask(Ask("over")) == "the other process has gone"
            assert scene.serving.steps == []

    trio.run(main)


def test_the_path_is_given_up_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "handover"

    async def main() -> None:
        first = Predecessor(path, 0, Serving(0), lambda: None)
        second = Predecessor(path, 1, Serving(0), lambda: None)
        await first.finish()
        assert path.exists(), "it is the second one's now"
        await second.finish()
        assert not path.exists()

    trio.run(main)
    assert list(tmp_path.iterdir()) == []


def test_only_this_user_may_connect(tmp_path: Path) -> None:
    with listen(tmp_path / "handover"):
        assert (tmp_path / "handover").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("uid", "own", "may"), [(1000, 1000, True), (0, 1000, True), (0, 0, True), (1001, 1000, False), (1000, 0, False)]
)
def test_who_is_trusted(uid: int, own: int, may: bool) -> None:
    assert trusted(uid, own) is may


def test_a_process_of_another_user_is_refused() -> None:
    with socket.socket(socket.AF_UNIX, KIND) as listening:
        listening.bind(f"\0isthmus-handover-{os.getpid()}")  # no folder that the other user could not enter
        listening.listen()
        listening.setblocking(True)
        root = os.geteuid() == 0
        pid = os.fork()
        if pid == 0:
            if root:  # nobody else can become another user
                os.setuid(65534)
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
                other.connect(listening.getsockname())
                os._exit(0)
        sock, _ = listening.accept()
        os.waitpid(pid, 0)
        with sock, contextlib.ExitStack() as stack:
            if root:
                stack.enter_context(pytest.raises(HandoverError, match="a process of user 65534 is at the other end"))
            Channel(sock).check_peer()


def test_waiting_has_an_end_and_cut_messages_are_refused() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, KIND)
        channel = Channel(ours)
        with pytest.raises(HandoverError, match=r"did not answer for 0\.01 s"):
            await channel.receive(0.01)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        theirs.send(b" " * (MAX_BYTES + 1))
        with pytest.raises(HandoverError, match="cut off"):
            await channel.receive(5)
        theirs.close()
        with pytest.raises(HandoverError, match="has gone"):
            await channel.receive(5)
        with pytest.raises(HandoverError, match="has gone"):
            await channel.send(Refused("x"), 5)
        channel.close()

    trio.run(main)


def test_sockets_without_names_and_counters_in_their_place_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "handover"

    async def answer(listening: socket.socket, message: Sockets | CounterValues) -> None:
        await trio.lowlevel.wait_readable(listening)
        sock, _ = listening.accept()
        sock.setblocking(False)
        channel = Channel(sock)
        await channel.receive(5)
        await channel.send(message, 5)
        channel.close()

    async def main() -> None:
        for message in (Sockets((SocketName("a", "b"),), 0, more=False), CounterValues({}, more=False)):
            with listen(path) as listening:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(answer, listening, message)
                    with pytest.raises(HandoverError, match="expected sockets with their names"):
                        await meet(path)

    trio.run(main)
