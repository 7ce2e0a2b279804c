"""Upstreams that serve gRPC: names that begin with ``grpc``. They record each message as JSON and answer as the running case wants.

An answer is ``{message: {...}}`` of the method's response type, or ``{grpc_status: N}``.
"""

from __future__ import annotations

import json
import time
from concurrent import futures
from typing import TYPE_CHECKING, Any

import grpc
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from google.protobuf.json_format import MessageToDict, ParseDict

if TYPE_CHECKING:
    from differential.upstream import Recorder

_METHODS: dict[str, tuple[Any, Any]] = {
    "/envoy.service.auth.v3.Authorization/Check": (CheckRequest, CheckResponse),
    "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit": (RateLimitRequest, RateLimitResponse),
}


class GrpcUpstream(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in its stubs alone
    """One server."""

    def __init__(self, name: str, recorder: Recorder) -> None:
        self._name = name
        self._recorder = recorder
        self._server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[self])
        self.port: int = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of a method."""
        path = handler_call_details.method
        known = _METHODS.get(path)
        if known is None:
            return None

        def handle(request: Any, context: grpc.ServicerContext) -> Any:
            forwarded, answer = self._recorder.arrived(self._name, f"POST {path}".encode())
            self._recorder.finished(forwarded, _shown(request))
            wanted = answer.grpc or {}
            time.sleep(float(wanted.get("delay", 0)))
            if wanted.get("grpc_status"):
                context.abort(list(grpc.StatusCode)[wanted["grpc_status"]], "as the case wants")
            return ParseDict(wanted.get("message", {}), known[1]())

        return grpc.unary_unary_rpc_method_handler(
            handle, request_deserializer=known[0].FromString, response_serializer=known[1].SerializeToString
        )

    def close(self) -> None:
        """Stop."""
        self._server.stop(None)


def _shown(request: Any) -> bytes:
    """The message as JSON, without what differs from one run to the next."""
    if isinstance(request, CheckRequest):
        attributes = request.attributes
        attributes.request.ClearField("time")
        attributes.request.http.ClearField("id")
        attributes.source.address.socket_address.port_value = 1
        attributes.destination.address.socket_address.port_value = 2
        for struct in attributes.metadata_context.filter_metadata.values():
            struct.fields.pop("ext_authz_duration", None)
        headers = attributes.request.http.headers
        if "x-request-id" in headers:
            headers["x-request-id"] = "~uuid~"
    return json.dumps(MessageToDict(request), sort_keys=True, indent=1).encode()
