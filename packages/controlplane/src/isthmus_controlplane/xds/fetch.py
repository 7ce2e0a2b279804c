"""One answer without a stream: the unary ``Fetch*`` methods, and REST-JSON polling. Pure.

There is no order between types here and no make-before-break: a client that polls asks for each type on its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from isthmus_controlplane.snapshot.resource import Resource
from isthmus_controlplane.snapshot.resource_type import ResourceType, resource_type
from isthmus_controlplane.snapshot.snapshot import Collection, Snapshot
from isthmus_controlplane.xds.message import Response, SotwRequest
from isthmus_controlplane.xds.subscription import Subscription
from isthmus_controlplane.xds.update import empty_answer


def fetch(snapshot: Snapshot, request: SotwRequest, *, legacy_wildcard: bool) -> Response:
    """Return everything that a request names, or all there is where that is what naming nothing means.

    Args:
        snapshot: what the client gets.
        request: type and names.
        legacy_wildcard: whether the client may mean everything by naming nothing.
    """
    kind = resource_type(request.type_url)
    subscription = Subscription(legacy_wildcard=legacy_wildcard and kind.legacy_wildcard)
    subscription.replace(request.names)
    collection = snapshot.collection(request.type_url)
    resources = tuple(_resources(kind, subscription, collection))
    return Response(request.type_url, collection.version, collection.version, resources)


def _resources(kind: ResourceType, subscription: Subscription, collection: Collection) -> Iterator[Resource]:
    if subscription.wildcard:
        yield from collection.resources.values()
    for name in sorted(subscription.names):
        found = collection.resources.get(name)
        if found is None:
            found = empty_answer(kind, name)
        elif subscription.wildcard:
            continue
        if found is not None:
            yield found
