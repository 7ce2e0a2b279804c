"""Copies of remote calls: what they carry, that their answers reach nobody, and that they never slow the original."""

from __future__ import annotations

import pytest

from isthmus_proxy.cluster.model import Thresholds
from isthmus_proxy.codec.bolt import status
from isthmus_proxy.codec.bolt.testing import request
from isthmus_proxy.codec.rpc import ONE_WAY
from isthmus_proxy.route.model import HeaderEdit, HeaderEdits, MirrorPolicy
from isthmus_proxy.rpc.testing import CODEC, HEADER, Frames, answer, content, echo, rpc
from isthmus_proxy.runtime import Fraction
from isthmus_proxy.testing import Peer, Proxy, eventually, forward

pytestmark = pytest.mark.trio


class Copies:
    """An endpoint that keeps what it is told and answers each call with ``code``, None for not at all."""

    def __init__(self, code: int | None = status.SUCCESS) -> None:
        self.code = code
        self.seen: list[tuple[bytes, dict[bytes, bytes]]] = []

    async def __call__(self, peer: Peer, _number: int) -> None:
        frames = Frames(peer)
        while True:
            frame, data = await frames.next()
            self.seen.append((content(data, frame), dict(CODEC.read(data, frame).headers)))
            if self.code is not None and frame[0] != ONE_WAY:
                await peer.send(answer(frame, data, status=self.code))


async def mirrored(proxy: Proxy, copies: Copies, *policies: MirrorPolicy, **options: object) -> Frames:
    proxy.cluster("c", (await proxy.origin(echo)).port)
    proxy.cluster("copies", (await proxy.origin(copies)).port, **options)  # type: ignore[arg-type]
    proxy.route(forward(mirrors=policies or (MirrorPolicy("copies"),)))
    rpc(proxy)
    return Frames(await proxy.client())


@pytest.mark.parametrize("code", [status.SUCCESS, status.SERVER_EXCEPTION])
async def test_every_request_is_copied_and_only_the_original_answers(proxy: Proxy, code: int) -> None:
    copies = Copies(code)
    client = await mirrored(proxy, copies)
    await client.peer.send(b"".join(request(i, HEADER, b"%d" % i) for i in range(20)))
    got = {await client.response() for _ in range(20)}
    assert got == {(i, 0, b"%d" % i) for i in range(20)}
    await eventually(lambda: len(copies.seen) == 20)
    assert [body for body, _ in copies.seen] == [b"%d" % i for i in range(20)]
    outcome = "rq_success" if code == status.SUCCESS else "rq_error"
    await eventually(lambda: proxy.stat(f"rpc.test.mirror.{outcome}") == 20)
    assert proxy.stat("rpc.test.downstream_rq_active") == 0
    assert proxy.stat("rpc.test.downstream_rq_total") == 20
    assert proxy.stat("cluster.copies.upstream_rq_active") == 0
    assert len(proxy.logs.lines) == 20  # copies are not logged


async def test_one_way_calls_are_copied(proxy: Proxy) -> None:
    copies = Copies()
    client = await mirrored(proxy, copies)
    await client.peer.send(request(1, HEADER, b"event", one_way=True))
    await eventually(lambda: [body for body, _ in copies.seen] == [b"event"])
    assert proxy.stat("cluster.copies.upstream_rq_active") == 0


async def test_two_policies_make_two_copies_and_a_fraction_of_none_makes_none(proxy: Proxy) -> None:
    copies = Copies()
    twice = MirrorPolicy("copies")
    client = await mirrored(proxy, copies, twice, twice, MirrorPolicy("copies", fraction=Fraction(0)))
    await client.peer.send(request(1, HEADER, b"x"))
    assert await client.response() == (1, 0, b"x")
    await eventually(lambda: proxy.stat("rpc.test.mirror.rq_success") == 2)
    assert len(copies.seen) == 2


async def test_a_copy_carries_the_mutations_of_its_policy_and_goes_where_a_header_says(proxy: Proxy) -> None:
    copies = Copies()
    edits = HeaderEdits((HeaderEdit(b"copy", b"yes", "OVERWRITE_IF_EXISTS_OR_ADD"),))
    client = await mirrored(proxy, copies, MirrorPolicy("", cluster_header=b"twin", edits=edits))
    await client.peer.send(request(1, [*HEADER, (b"twin", b"copies")]) + request(2, HEADER))
    for _ in range(2):
        await client.response()
    await eventually(lambda: len(copies.seen) == 1)
    assert copies.seen[0][1][b"copy"] == b"yes"
    assert proxy.stat("rpc.test.mirror.rq_dropped") == 1


async def test_copies_that_nobody_answers_end_at_the_timeout_of_the_request(proxy: Proxy) -> None:
    client = await mirrored(proxy, Copies(None))
    await client.peer.send(request(1, HEADER, b"x", timeout=700))
    assert await client.response() == (1, 0, b"x")
    await eventually(lambda: proxy.stat("cluster.copies.upstream_rq_timeout") == 1)
    assert proxy.stat("rpc.test.rq_timeout") == 0
    assert proxy.stat("rpc.test.mirror.rq_local_reply") == 1


async def test_the_circuit_breaker_of_the_copies_holds_back_copies_alone(proxy: Proxy) -> None:
    client = await mirrored(proxy, Copies(None), thresholds=Thresholds(max_requests=1))
    await client.peer.send(request(1, HEADER, b"x") + request(2, HEADER, b"x"))
    assert {(await client.response())[:2] for _ in range(2)} == {(1, 0), (2, 0)}
    assert proxy.stat("rpc.test.mirror.rq_dropped") == 1
