"""CSDS from the server's side: what each client was sent, acknowledged and rejected, resource by resource.

``envoy.service.status.v3.ClientStatusDiscoveryService``, for ``grpcdebug`` and programs that speak it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc
from envoy.admin.v3.config_dump_shared_pb2 import UpdateFailureState
from envoy.service.status.v3.csds_pb2 import ClientConfig, ClientStatusRequest, ClientStatusResponse, ConfigStatus

from isthmus_controlplane.xds.errors import StreamError
from isthmus_controlplane.xds.fleet import Client
from isthmus_controlplane.xds.watch import Progress, Watch

SERVICE = "envoy.service.status.v3.ClientStatusDiscoveryService"
MAX_CLIENTS = 1_000  # one response holds all of them


def handlers(clients: Callable[[], Iterable[Client]]) -> dict[str, Any]:
    """Return the methods of the service; ``clients`` gives the connected ones."""

    async def fetch(request: bytes, context: Any) -> bytes:
        try:
            answer: bytes = client_status(ClientStatusRequest.FromString(request), clients()).SerializeToString()
        except StreamError as error:
            await context.abort(grpc.StatusCode[error.code], str(error))
        return answer

    async def stream(_requests: object, context: Any) -> None:
        while isinstance(request := await context.read(), bytes):
            await context.write(await fetch(request, context))

    behaviours: Any = (fetch, stream)
    return {
        "FetchClientStatus": grpc.unary_unary_rpc_method_handler(behaviours[0]),
        "StreamClientStatus": grpc.stream_stream_rpc_method_handler(behaviours[1]),
    }


def client_status(request: Any, clients: Iterable[Client]) -> Any:
    """Answer a request.

    Raises:
        StreamError: it selects clients in a way that is not supported, or too many.
    """
    matches = [_matcher(matcher) for matcher in request.node_matchers]
    chosen = [
        client
        for client in clients
        if client.node is not None and (not matches or any(match(client.node.id) for match in matches))
    ]
    if len(chosen) > MAX_CLIENTS:
        text = f"node_matchers: {len(chosen)} clients match, at most {MAX_CLIENTS} are described: select by node_id"
        raise StreamError("RESOURCE_EXHAUSTED", text)
    return ClientStatusResponse(config=[_config(client) for client in chosen])


def _matcher(matcher: Any) -> Callable[[str], bool]:
    """Select by node id, exactly or by prefix."""
    kind = matcher.node_id.WhichOneof("match_pattern")
    if matcher.node_metadatas or kind not in {"exact", "prefix"} or matcher.node_id.ignore_case:
        text = "node_matchers: only node_id with exact or prefix is supported; select clients by one of them"
        raise StreamError("INVALID_ARGUMENT", text)
    wanted = getattr(matcher.node_id, kind)
    return wanted.__eq__ if kind == "exact" else lambda node_id: node_id.startswith(wanted)


def _config(client: Client) -> Any:
    entries = [entry for watch in client.session.watches.values() for entry in _entries(watch, client.session.sequence)]
    return ClientConfig(node=client.node, generic_xds_configs=entries)


def _entries(watch: Watch, sequence: int) -> Iterator[Any]:
    """Yield what a client has of one type, and what it still waits for."""
    delivered = watch.delivered
    in_flight = {name for response in delivered.outstanding for name in response.names}
    synced = watch.progress(sequence) is Progress.ACKNOWLEDGED
    for name, resource in sorted(delivered.sent.items()):
        entry = ClientConfig.GenericXdsConfig(type_url=watch.kind.type_url, name=name, version_info=resource.version)
        entry.config_status = ConfigStatus.SYNCED if synced or name not in in_flight else ConfigStatus.STALE
        nack = delivered.nack
        if nack is not None and (name in nack.resources or not nack.resources):
            entry.config_status = ConfigStatus.ERROR
            entry.error_state.CopyFrom(UpdateFailureState(details=nack.message, version_info=nack.version))
        yield entry
    for name in sorted(watch.subscription.names - delivered.sent.keys()):
        yield ClientConfig.GenericXdsConfig(
            type_url=watch.kind.type_url, name=name, config_status=ConfigStatus.NOT_SENT
        )
