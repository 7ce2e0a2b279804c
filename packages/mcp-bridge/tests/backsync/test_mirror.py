"""What is mirrored of what registries claim, and by whom."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

import pytest

from isthmus_mcp_bridge.backsync.layouts import DUBBO, SOFARPC, Description, folder
from isthmus_mcp_bridge.backsync.mirror import Mirror, MirrorRule, mirrored
from isthmus_mcp_bridge.backsync.writer import Writer, WriterSettings
from isthmus_mcp_bridge.dualmode.instance import Address
from isthmus_mcp_bridge.model import EndpointClaim, Presence, ServiceClaim, ServiceKey, ServicePort, SourcedClaim
from isthmus_mcp_bridge.registration.model import InstanceKey, SdkService
from isthmus_mcp_bridge.testing.eventually import eventually
from isthmus_mcp_bridge.testing.memory_store import MemoryServer, MemoryStore

KEY = ServiceKey("default", "reviews.shop")
HTTP = ServicePort("http", 80, "HTTP")
DUBBO_PORT = ServicePort("dubbo-tcp", 20880, "TCP")
BOLT_PORT = ServicePort("bolt-tcp", 12200, "TCP")
OTHER = ServicePort("redis", 6379, "TCP")
RULE = MirrorRule(frozenset({"files"}))
A = Address("10.0.0.1", 80)


def claim(*endpoints: EndpointClaim, source: str = "files", raw: Sequence[str] = (KEY.host,)) -> SourcedClaim:
    ports = (HTTP, DUBBO_PORT, BOLT_PORT, OTHER)
    return SourcedClaim(source, "origin", ServiceClaim(KEY, ports, endpoints, raw_names=tuple(raw)))


def endpoint(port: str = "http", number: int = 1, presence: Presence = Presence.UP) -> EndpointClaim:
    return EndpointClaim(
        port, f"10.0.0.{number}", 80, presence=presence, weight=50, labels=(("app", "shop"), ("a", "b"))
    )


def keys(*claims: SourcedClaim, rule: MirrorRule = RULE) -> set[InstanceKey]:
    found = {**mirrored(KEY, claims, rule, DUBBO, "here"), **mirrored(KEY, claims, rule, SOFARPC, "here")}
    return set(found)


def test_a_service_is_mirrored_under_the_name_that_sdks_know() -> None:
    found = mirrored(KEY, [claim(endpoint())], RULE, DUBBO, "here")
    key = InstanceKey(SdkService("http", "reviews.shop"), "mirrored-10.0.0.1:80")
    assert found == {key: (A, Description("shop", (("a", "b"), ("weight", "50"))), ("here",))}
    assert {one.service for one in keys(claim(endpoint("dubbo-tcp"), raw=["g/com.x.Foo:2.0"]))} == {
        SdkService("dubbo", "com.x.Foo", "g", "2.0")
    }
    assert {one.service for one in keys(claim(endpoint("bolt-tcp"), raw=["blue/com.x.Foo"]))} == {
        SdkService("bolt", "com.x.Foo", "blue", "1.0")
    }
    stated = MirrorRule(RULE.sources, {KEY.host: SdkService("tri", "com.x.Foo")})
    assert {one.service for one in keys(claim(endpoint("redis")), rule=stated)} == {SdkService("tri", "com.x.Foo")}


@pytest.mark.parametrize(
    "claims",
    [
        [claim(endpoint(), source="other")],
        [claim(endpoint("redis"))],
        [claim(endpoint("missing"))],
        [claim(endpoint(presence=Presence.OFFLINE))],
        [claim(endpoint(presence=Presence.UNHEALTHY))],
        [claim(endpoint()), claim(endpoint(), source="registration")],
    ],
)
def test_what_is_not_mirrored(claims: list[SourcedClaim]) -> None:
    assert keys(*claims) == set()


def test_the_path_goes_on_and_the_shortest_one_counts() -> None:
    far = dataclasses.replace(endpoint(), path=("a", "b"))
    near = dataclasses.replace(endpoint(), path=("c",))
    for claims in ([claim(far), claim(near)], [claim(near), claim(far)]):
        ((_, _, path),) = mirrored(KEY, claims, RULE, DUBBO, "here").values()
        assert path == ("c", "here")


@pytest.mark.asyncio
async def test_only_who_leads_mirrors_and_follows_what_is_claimed() -> None:
    loop = asyncio.get_running_loop()
    server = MemoryServer()
    writer = Writer(WriterSettings("it", "/dubbo", "here", 0.0), DUBBO, MemoryStore(server), loop.time, lambda: 0.5)
    claims = [claim(endpoint(), endpoint(number=2))]
    mirror = Mirror(RULE, writer, "here", lambda _: claims, lambda: [KEY])
    place = folder("/dubbo", KEY.host)

    def standing() -> list[str]:
        found = [DUBBO.read(name, KEY.host) for name in server.names(place)]
        return sorted(f"{one.address.host} {one.marks.epoch}" for one in found if one is not None and one.marks)

    task = asyncio.create_task(writer.run())
    mirror.changed([KEY])
    assert mirror.status()["instances"] == 0
    mirror.led(7)
    await eventually(lambda: standing() == ["10.0.0.1 7", "10.0.0.2 7"], standing)
    claims[0] = claim(endpoint(number=2), endpoint(number=3))
    mirror.changed([KEY])
    await eventually(lambda: standing() == ["10.0.0.2 7", "10.0.0.3 7"], standing)
    claims.clear()
    mirror.changed([KEY])
    await eventually(lambda: standing() == [], standing)
    assert mirror.status()["leader_epoch"] == 7
    mirror.led(None)
    mirror.led(8)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
