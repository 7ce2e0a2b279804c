"""Vectors 1 to 18: state of the world."""

from __future__ import annotations

from typing import Any

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import Resource

from conformance.xds.lab import Lab, Sotw
from conformance.xds.vector import expect, vector
from isthmus_controlplane.snapshot.resource import Timed
from isthmus_controlplane.snapshot.resource_type import CLUSTER, ENDPOINT, LISTENER, ROUTE
from isthmus_controlplane.xds.testing import NODE, cluster, endpoints, listener, names_in, route

GRPC_NODE = Node(id="grpc-client", user_agent_name="gRPC C-core linux")


def named(response: Any, *names: str) -> None:
    """The response holds exactly these resources."""
    expect(names_in(response) == list(names), f"{response.type_url} holds {names_in(response)}, wanted {list(names)}")


@vector(1, "rejected-version-not-sent-again")
async def _(lab: Lab) -> None:
    lab.publish(cluster("a"))
    stream = lab.sotw()
    first = await stream.get(CLUSTER)
    await stream.ask(CLUSTER, nonce=first.nonce, error="bad cluster a")
    lab.publish(cluster("a"))
    await stream.fence()
    lab.publish(cluster("a", 2))
    second = await stream.read()
    named(second, "a")
    expect(second.version_info != first.version_info, "the version is the rejected one")


@vector(2, "new-name-on-a-stale-nonce")
async def _(lab: Lab) -> None:
    lab.publish(endpoints("a", 1), endpoints("b", 2))
    stream = lab.sotw()
    old = await stream.get(ENDPOINT, ["a"])
    await stream.ack(old, ["a"])
    await stream.fence()
    lab.publish(endpoints("a", 3), endpoints("b", 2))
    named(await stream.read(), "a")
    await stream.ack(old, ["a", "b"])
    named(await stream.read(), "b")


@vector(3, "unsubscribe-and-resubscribe-at-one-version")
async def _(lab: Lab) -> None:
    lab.publish(endpoints("a", 1), endpoints("b", 2))
    stream = lab.sotw()
    first = await stream.get(ENDPOINT, ["a", "b"])
    await stream.ack(first, ["b"])
    await stream.ask(ENDPOINT, ["a", "b"], nonce=first.nonce, version=first.version_info)
    named(await stream.read(), "a")


@vector(4, "added-name-at-one-version")
async def _(lab: Lab) -> None:
    lab.publish(endpoints("a", 1), endpoints("b", 2))
    stream = lab.sotw()
    first = await stream.get(ENDPOINT, ["a"])
    await stream.ack(first, ["a", "b"])
    second = await stream.read()
    named(second, "b")
    expect(second.version_info == first.version_info, "the version changed although nothing did")


@vector(5, "first-request-with-a-nonce-of-an-older-stream")
async def _(lab: Lab) -> None:
    lab.publish(cluster("a"), endpoints("a", 1))
    stream = lab.sotw()
    await stream.ask(CLUSTER, nonce="17", version="old")
    named(await stream.read(), "a")
    await stream.ask(ENDPOINT, ["a"], nonce="18", version="old")
    named(await stream.read(), "a")


@vector(6, "node-in-the-first-request-only")
async def _(lab: Lab) -> None:
    lab.publish(cluster("a"), endpoints("a", 1))
    stream = lab.sotw()
    await stream.ack(await stream.get(CLUSTER))
    named(await stream.get(ENDPOINT, ["a"]), "a")


@vector(7, "no-type-url")
async def _(lab: Lab) -> None:
    lab.publish(cluster("a"))
    stream = lab.sotw()
    await stream.ask("")
    code, words = await stream.end()
    expect(code == "INVALID_ARGUMENT", f"the stream ended with {code}: {words}")


@vector(8, "full-state-types-are-sent-whole")
async def _(lab: Lab) -> None:
    lab.publish(cluster("a"), cluster("b"), listener("a", "r"), listener("b", "r"))
    stream = lab.sotw()
    for type_url in (CLUSTER, LISTENER):
        await stream.ack(await stream.get(type_url, ["a", "b"]), ["a", "b"])
    await stream.fence()
    lab.publish(cluster("a"), cluster("b", 2), listener("a", "r"), listener("b", "r", 2))
    for type_url in (CLUSTER, LISTENER):
        response = await stream.read()
        expect(response.type_url == type_url, f"{response.type_url} came, wanted {type_url}")
        named(response, "a", "b")
        await stream.ack(response, ["a", "b"])


@vector(9, "other-types-send-what-changed-and-no-deletions")
async def _(lab: Lab) -> None:
    lab.publish(endpoints("a", 1), endpoints("b", 1), route("a", "x"), route("b", "x"))
    stream = lab.sotw()
    for type_url in (ENDPOINT, ROUTE):
        await stream.ack(await stream.get(type_url, ["a", "b"]), ["a", "b"])
    await stream.fence()
    lab.publish(endpoints("a", 1), endpoints("b", 2), route("a", "x"), route("b", "x", "y"))
    for _ in range(2):
        response = await stream.read()
        named(response, "b")
        await stream.ack(response, ["a", "b"])
    await stream.fence()
    lab.publish(endpoints("b", 2), route("b", "x", "y"))
    await stream.fence()


@vector(10, "all-clusters-deleted")
async def _(lab: Lab) -> None:
    lab.publish(cluster("a"))
    stream = lab.sotw()
    await stream.ack(await stream.get(CLUSTER))
    await stream.fence()
    lab.publish()
    named(await stream.read())


@vector(11, "legacy-wildcard-ends-with-the-first-name")
async def _(lab: Lab) -> None:
    lab.publish(cluster("a"), cluster("b"))
    stream = lab.sotw()
    everything = await stream.get(CLUSTER)
    named(everything, "a", "b")
    await stream.ack(everything, ["a"])
    only = await stream.read()
    named(only, "a")
    await stream.ack(only, [])
    await stream.fence()
    lab.publish(cluster("a", 2), cluster("b", 2))
    await stream.fence()


async def _explicit_wildcard(stream: Sotw, lab: Lab) -> None:
    everything = await stream.get(CLUSTER, ["*"])
    named(everything, "a", "b")
    await stream.ack(everything, ["*", "a"])
    mixed = await stream.read()
    await stream.ack(mixed, ["a"])
    await stream.fence()
    lab.publish(cluster("a", 2), cluster("b", 2))
    named(await stream.read(), "a")


@vector(12, "explicit-wildcard-and-grpc-clients")
async def _(lab: Lab) -> None:
    lab.publish(cluster("a"), cluster("b"))
    await _explicit_wildcard(lab.sotw(), lab)
    lab.publish(cluster("a"), cluster("b"))
    stream = lab.sotw(node=GRPC_NODE)
    await stream.ask(CLUSTER, [])
    await stream.fence()
    await _explicit_wildcard(stream, lab)


async def _unknown_name(lab: Lab, type_url: str, later: Any) -> None:
    lab.publish()
    stream = lab.sotw()
    empty = await stream.get(type_url, ["x"])
    named(empty, "x")
    await stream.ack(empty, ["x"])
    await stream.fence()
    lab.publish(later)
    filled = await stream.read()
    named(filled, "x")
    expect(filled.resources[0].value == later.SerializeToString(), "the answer is not the resource")


@vector(13, "unknown-endpoints")
async def _(lab: Lab) -> None:
    await _unknown_name(lab, ENDPOINT, endpoints("x", 1))


@vector(14, "unknown-route-configuration")
async def _(lab: Lab) -> None:
    await _unknown_name(lab, ROUTE, route("x", "a"))


@vector(15, "changed-cluster-gets-its-endpoints-again")
async def _(lab: Lab) -> None:
    lab.publish(cluster("a"), endpoints("a", 1))
    stream = lab.sotw()
    await stream.ack(await stream.get(CLUSTER))
    await stream.ack(await stream.get(ENDPOINT, ["a"]), ["a"])
    await stream.fence()
    lab.publish(cluster("a", 2), endpoints("a", 1))
    seen = [(await stream.read()).type_url for _ in range(2)]
    expect(seen == [CLUSTER, ENDPOINT], f"came in the order {seen}")


@vector(16, "order-of-one-change")
async def _(lab: Lab) -> None:
    lab.publish(cluster("a"), endpoints("a", 1), listener("l", "r"), route("r", "a"))
    stream, names = lab.sotw(), {CLUSTER: [], ENDPOINT: ["a"], LISTENER: [], ROUTE: ["r"]}
    for type_url, wanted in names.items():
        await stream.ack(await stream.get(type_url, wanted), wanted)
    await stream.fence()
    lab.publish(route("r", "a", "a"), listener("l", "r", 2), endpoints("a", 2), cluster("a", 2))
    order = []
    for _ in names:
        response = await stream.read()
        order.append(response.type_url)
        await stream.ack(response, names[response.type_url])
    expect(order == list(names), f"came in the order {order}")


@vector(17, "resource-wrapper-and-ttl-heartbeat")
async def _(lab: Lab) -> None:
    lab.publish(Timed(cluster("a"), ttl=1.0), cluster("b"))
    plain = await lab.sotw().get(CLUSTER)
    expect(
        [each.type_url for each in plain.resources] == [CLUSTER] * 2, "wrapped although the client did not ask for it"
    )
    node = Node(id=NODE.id, user_agent_name="envoy", client_features=["xds.config.resource-in-sotw"])
    stream = lab.sotw(node=node)
    response = await stream.get(CLUSTER)
    first = Resource.FromString(response.resources[0].value)
    expect(response.resources[0].Is(Resource.DESCRIPTOR), "a resource with a time to live is not wrapped")
    expect((first.name, first.ttl.seconds) == ("a", 1) and first.HasField("resource"), f"wrapped as {first}")
    expect(response.resources[1].type_url == CLUSTER, "one that lives for ever is wrapped")
    await stream.ack(response)
    beat = await stream.read()
    expect([each.Is(Resource.DESCRIPTOR) for each in beat.resources] == [True], "a heartbeat is about what times out")
    again = Resource.FromString(beat.resources[0].value)
    expect((again.name, again.version) == ("a", first.version), f"the heartbeat is about {again.name} {again.version}")
    expect(not again.HasField("resource"), "the heartbeat holds the resource")


@vector(18, "two-streams-of-one-node")
async def _(lab: Lab) -> None:
    lab.publish(endpoints("a", 1), endpoints("b", 1))
    first, second = lab.sotw(), lab.sotw()
    named(await first.get(ENDPOINT, ["a"]), "a")
    response = await second.get(ENDPOINT, ["b"])
    named(response, "b")
    await second.ack(response, ["b"])
    await second.fence()
    lab.publish(endpoints("a", 1), endpoints("b", 2))
    named(await second.read(), "b")
    await first.fence()
