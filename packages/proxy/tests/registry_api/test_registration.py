"""The stream to the registration service: goes to the next replica when it ends or stalls, says all again, with a greater epoch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from isthmus_api.registration.v1alpha1 import registration_pb2
from isthmus_api.registration.v1alpha1.registration_pb2 import RegisterRequest, RegisterResponse
from isthmus_proxy.grpc.call import CallOptions
from isthmus_proxy.grpc.status import FAILED_PRECONDITION, UNAVAILABLE, Metadata, Outcome
from isthmus_proxy.grpc.task import TaskCall
from isthmus_proxy.observe.stats import StatsStore
from isthmus_proxy.registry_api.model import ApplicationCheck, Publication, RegistryApiConfig
from isthmus_proxy.registry_api.registration import Registration
from isthmus_proxy.registry_api.registry import ApplicationRegistry

pytestmark = pytest.mark.trio


class Replica:
    """A registration service: what it was told, and how it treats a stream."""

    def __init__(self) -> None:
        self.requests: list[RegisterRequest] = []
        self.keep_alives = 0
        self.answering = True
        self.refusal: Outcome | None = None
        self.listener: TaskCall | None = None

    def end(self) -> None:
        """End the open stream."""
        assert self.listener is not None
        listener, self.listener = self.listener, None
        listener.closed(Outcome(UNAVAILABLE, "going", ()))


class Call:
    started = True

    def __init__(self, replica: Replica, listener: TaskCall) -> None:
        self._replica = replica
        self._listener = listener
        replica.listener = listener

    def send(self, message: bytes) -> bool:
        request = RegisterRequest.FromString(message)
        replica = self._replica
        if replica.refusal is not None:
            self._listener.closed(replica.refusal)
            return True
        if request.keep_alive:
            replica.keep_alives += 1
        else:
            replica.requests.append(request)
        if replica.answering:
            self._listener.message_received(RegisterResponse(nonce=request.nonce).SerializeToString())
        return True

    def cancel(self) -> None:
        if self._replica.listener is self._listener:
            self._replica.listener = None


class Client:
    def __init__(self, **replicas: Replica) -> None:
        self._replicas = replicas

    def call(self, cluster: str, _path: str, listener: TaskCall, _options: CallOptions) -> Call:
        return Call(self._replicas[cluster], listener)


class World:
    def __init__(self, nursery: trio.Nursery, clock: Callable[[], int] = lambda: 1000) -> None:
        self.one, self.two = Replica(), Replica()
        self.registry = ApplicationRegistry()
        check = ApplicationCheck(1, "bolt")
        config = RegistryApiConfig(
            host="10.0.0.1", clusters=("one", "two"), check=check, native_port=20880, instance="pod-7"
        )
        client = Client(one=self.one, two=self.two)
        scope = StatsStore().scope("registry_api")
        self.registration = Registration(
            self.registry,
            config,
            ("node", "zone"),
            client,  # type: ignore[arg-type]
            scope,
            clock,
        )
        self.registry.changed = self.registration.changed
        self.registry.publish(Publication("com.x.Foo", "dubbo"))
        nursery.start_soon(self.registration.run)


async def test_everything_is_told_and_told_again_when_it_changes(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        await trio.sleep(0.1)
        (request,) = world.one.requests
        assert (request.node_id, request.zone, request.epoch) == ("node", "zone", 1000)
        (publication,) = request.publications
        assert (publication.host, publication.port, publication.instance) == ("10.0.0.1", 12200, "pod-7")
        assert (publication.native_host, publication.native_port) == ("10.0.0.1", 20880)
        assert publication.application_health == registration_pb2.APPLICATION_HEALTH_ANSWERING
        world.registry.set_alive(False)
        await trio.sleep(0.1)
        assert world.one.requests[1].publications[0].application_health == registration_pb2.APPLICATION_HEALTH_SILENT
        assert world.one.requests[1].epoch == 1000
        await trio.sleep(60)
        assert len(world.one.requests) == 2
        assert world.one.keep_alives >= 100
        assert world.two.requests == []
        nursery.cancel_scope.cancel()


async def test_a_stream_that_ends_goes_on_at_the_next_replica_at_once(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        await trio.sleep(0.1)
        world.one.end()
        await trio.sleep(0.1)
        assert world.two.requests[0].publications == world.one.requests[0].publications
        assert [one.epoch for one in (*world.one.requests, *world.two.requests)] == [1000, 1001]
        world.two.end()
        await trio.sleep(0.1)
        assert world.one.requests[1].epoch == 1002
        nursery.cancel_scope.cancel()


async def test_a_stream_that_stalls_is_left_within_a_second_or_two(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        await trio.sleep(10)
        world.one.answering = False
        await trio.sleep(1.6)
        assert len(world.two.requests) == 1
        assert world.one.listener is None
        nursery.cancel_scope.cancel()


async def test_when_all_fail_there_is_a_pause_that_ends(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        for replica in (world.one, world.two):
            replica.refusal = Outcome(UNAVAILABLE, "away", ())
        await trio.sleep(300)
        assert world.one.requests == world.two.requests == []
        world.two.refusal = None
        await trio.sleep(11)
        assert len(world.two.requests) == 1
        nursery.cancel_scope.cancel()


async def test_after_the_clock_went_back_the_epoch_is_learned_from_the_refusal(autojump_clock: MockClock) -> None:
    fields: Metadata = ((b"isthmus-epoch", b"5000"), (b"isthmus-epoch", b"x"))
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        world.one.refusal = Outcome(FAILED_PRECONDITION, "epoch", fields)
        await trio.sleep(1)
        assert [one.epoch for one in world.two.requests] == [5001]
        nursery.cancel_scope.cancel()


async def test_before_it_stops_it_says_so_and_serves_on(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        await trio.sleep(10)
        before = trio.current_time()
        await world.registration.leave()
        assert trio.current_time() - before == pytest.approx(1.0)
        assert [one.leaving for one in world.one.requests] == [False, True]
        assert len(world.one.requests[1].publications) == 1
        nursery.cancel_scope.cancel()


async def test_nobody_is_waited_for_who_does_not_hear_it(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        await trio.sleep(10)
        world.one.answering = False
        before = trio.current_time()
        await world.registration.leave()
        assert trio.current_time() - before <= 2.0
        for replica in (world.one, world.two):
            replica.refusal = Outcome(UNAVAILABLE, "away", ())
            if replica.listener is not None:
                replica.end()
        await trio.sleep(1)
        before = trio.current_time()
        await world.registration.leave()
        assert trio.current_time() == before
        nursery.cancel_scope.cancel()
