"""Vectors 19 to 30: delta."""

from __future__ import annotations

import asyncio
from typing import Any

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from google.protobuf.message import Message

from conformance.xds import world
from conformance.xds.lab import Lab
from conformance.xds.vector import expect, vector
from isthmus_controlplane.snapshot.resource_type import CLUSTER, ENDPOINT, EXTENSION_CONFIG
from isthmus_controlplane.xds.testing import cluster, endpoints, names_in


def changes(response: Any, *names: str, removed: tuple[str, ...] = ()) -> None:
    """The response holds exactly these resources and removals."""
    seen = (names_in(response), list(response.removed_resources))
    expect(seen == (list(names), list(removed)), f"{response.type_url}: sent and removed {seen}")


def versions(response: Any) -> dict[str, str]:
    """Version by name."""
    return {resource.name: resource.version for resource in response.resources}


@vector(19, "initial-versions")
async def _(lab: Lab) -> None:
    lab.publish(cluster("same"), cluster("other"))
    known = versions(await lab.delta().get(CLUSTER))
    stream = lab.delta()
    initial = {"same": known["same"], "other": "an older version", "gone": "1"}
    await stream.ask(CLUSTER, initial=initial)
    changes(await stream.read(), "other", removed=("gone",))


@vector(20, "initial-versions-of-another-process")
async def _(lab: Lab) -> None:
    store = world.store(lab.folder, world.service("a.shop", 9001), world.service("b.shop", 9002))
    first = await lab.control_plane(store, name="first")
    second = await lab.control_plane(store, name="second")
    known = versions(await lab.delta(address=first.grpc_address).get(CLUSTER))
    expect(len(known) >= 2, f"the first process knows {sorted(known)}")
    stream = lab.delta(address=second.grpc_address)
    await stream.ask(CLUSTER, initial=known | {"gone": "1"})
    changes(await stream.read(), removed=("gone",))


@vector(21, "subscribe-to-what-was-sent")
async def _(lab: Lab) -> None:
    lab.publish(endpoints("a", 1))
    stream = lab.delta()
    changes(await stream.get(ENDPOINT, ["a"]), "a")
    changes(await stream.get(ENDPOINT, ["a"]), "a")


@vector(22, "subscribe-to-what-is-absent")
async def _(lab: Lab) -> None:
    lab.publish()
    stream = lab.delta()
    changes(await stream.get(ENDPOINT, ["a"]), removed=("a",))
    lab.publish(endpoints("a", 1))
    changes(await stream.read(), "a")


@vector(23, "subscribe-on-a-stale-nonce")
async def _(lab: Lab) -> None:
    lab.publish(endpoints("a", 1), endpoints("b", 1))
    stream = lab.delta()
    changes(await stream.get(ENDPOINT, ["a"]), "a")
    await stream.ask(ENDPOINT, ["b"], nonce="an older nonce")
    changes(await stream.read(), "b")


@vector(24, "superfluous-unsubscribe")
async def _(lab: Lab) -> None:
    lab.publish(endpoints("a", 1))
    stream = lab.delta()
    changes(await stream.get(ENDPOINT, ["a"]), "a")
    await stream.ask(ENDPOINT, unsubscribe=["never-subscribed"])
    await stream.fence()


@vector(25, "unsubscribe-a-name-under-the-wildcard")
async def _(lab: Lab) -> None:
    lab.publish(cluster("a"))
    stream = lab.delta()
    changes(await stream.get(CLUSTER, ["*"]), "a")
    changes(await stream.get(CLUSTER, ["a"]), "a")
    await stream.ask(CLUSTER, unsubscribe=["a"])
    changes(await stream.read(), "a")


@vector(26, "unsubscribe-the-wildcard")
async def _(lab: Lab) -> None:
    lab.publish(cluster("a"), cluster("b"))
    stream = lab.delta()
    changes(await stream.get(CLUSTER, ["*", "a"]), "a", "b")
    await stream.ask(CLUSTER, unsubscribe=["*"])
    await stream.fence()
    lab.publish(cluster("a", 2), cluster("b", 2))
    changes(await stream.read(), "a")


@vector(27, "subscribe-and-unsubscribe-the-wildcard-at-once")
async def _(lab: Lab) -> None:
    lab.publish(cluster("a"))
    stream = lab.delta()
    await stream.ask(CLUSTER, ["*"], ["*"])
    await stream.fence()
    lab.publish(cluster("a", 2))
    await stream.fence()


@vector(28, "deleted-extension-is-never-removed")
async def _(lab: Lab) -> None:
    extension: Message = TypedExtensionConfig(name="filter")
    lab.publish(extension)
    stream = lab.delta()
    await stream.get(EXTENSION_CONFIG, ["filter"])
    await stream.fence()
    lab.publish()
    await stream.fence()


@vector(29, "two-subscriptions-before-any-ack")
async def _(lab: Lab) -> None:
    lab.publish(endpoints("a", 1), endpoints("b", 1))
    stream = lab.delta()
    await stream.ask(ENDPOINT, ["a"])
    await stream.ask(ENDPOINT, ["b"])
    seen = names_in(await stream.read())
    if seen != ["a", "b"]:
        seen += names_in(await stream.read())
    expect(sorted(seen) == ["a", "b"], f"answered {seen}")


@vector(30, "rejection")
async def _(lab: Lab) -> None:
    lab.publish(cluster("a"), cluster("b"))
    stream = lab.delta()
    await stream.ask(CLUSTER)
    first = await stream.read()
    await stream.ask(CLUSTER, nonce=first.nonce, error="bad cluster a")
    await stream.fence()
    rows = [row for client in lab.server.clients() for row in client.types if row.type_url == CLUSTER]
    expect([row.synced for row in rows] == [False], "the rejected resources count as applied")
    lab.publish(cluster("a", 2), cluster("b"))
    changes(await asyncio.wait_for(stream.read(), 30), "a")
