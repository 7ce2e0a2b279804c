"""Checks over gRPC: envoy.service.auth.v3.Authorization/Check. Imported where it is configured, for its messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from envoy.config.core.v3.base_pb2 import HeaderValueOption
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from isthmus_proxy.authz.http_check import PARTIAL
from isthmus_proxy.authz.model import FAILED, Asked, Fields, Verdict

METHOD = "/envoy.service.auth.v3.Authorization/Check"
_OVERWRITE = frozenset({HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD, HeaderValueOption.OVERWRITE_IF_EXISTS})


def check_request(asked: Asked) -> bytes:
    """The serialised CheckRequest."""
    request = CheckRequest()
    attributes = request.attributes
    _fill_address(attributes.source.address, asked.source)
    _fill_address(attributes.destination.address, asked.destination)
    attributes.request.time.FromNanoseconds(int(asked.time * 1e9))
    _fill_http(attributes.request.http, asked)
    for name, value in asked.context:
        attributes.context_extensions[name.decode()] = value.decode()
    attributes.metadata_context.SetInParent()
    attributes.route_metadata_context.SetInParent()
    for namespace, values in asked.metadata.items():
        attributes.metadata_context.filter_metadata[namespace].update(values)
    for namespace, values in asked.route_metadata.items():
        attributes.route_metadata_context.filter_metadata[namespace].update(values)
    return bytes(request.SerializeToString())


def _fill_address(address: Any, text: str) -> None:
    host, _, port = text.rpartition(":")
    if port.isdecimal():
        address.socket_address.address = host.strip("[]")
        address.socket_address.port_value = int(port)
    else:
        address.pipe.path = text


def _fill_http(http: Any, asked: Asked) -> None:
    text = _text
    http.id = asked.stream_id
    http.method, http.scheme = text(asked.method), text(asked.scheme)
    http.host, http.path = text(asked.authority), text(asked.path)
    http.size, http.protocol = asked.size, asked.protocol
    headers: dict[str, str] = {}
    pseudo = [
        (b":authority", asked.authority),
        (b":method", asked.method),
        (b":path", asked.path),
        (b":scheme", asked.scheme),
    ]
    for name, value in (*pseudo, *asked.headers):
        key = text(name)
        headers[key] = f"{headers[key]},{text(value)}" if key in headers else text(value)
    if asked.partial is not None:
        headers[PARTIAL.decode()] = "true" if asked.partial else "false"
    http.headers.update(headers)
    if asked.as_bytes:
        http.raw_body = asked.body
    else:
        http.body = text(asked.body)


def _text(value: bytes) -> str:
    """UTF-8 as it is; what is none in ``value`` becomes an exclamation mark, as in Envoy."""
    return value.decode("utf-8", "replace").replace("\ufffd", "!")


def read_response(data: bytes) -> Verdict:
    """What a CheckResponse means."""
    try:
        response = CheckResponse.FromString(data)
    except DecodeError:
        return FAILED
    metadata = MessageToDict(response.dynamic_metadata) if response.HasField("dynamic_metadata") else {}
    if response.status.code == 0:
        return _passed(response.ok_response, metadata)
    denied = response.denied_response
    headers, _ = _split(denied.headers)  # Envoy leaves out those to append
    if response.HasField("error_response"):
        error = response.error_response
        return Verdict("error", error.status.code or 0, error.body.encode(), metadata=metadata)
    return Verdict("denied", denied.status.code or 403, denied.body.encode(), to_client=headers, metadata=metadata)


def _passed(response: Any, metadata: dict[str, Any]) -> Verdict:
    overwritten, extended = _split(response.headers)
    added = response.response_headers_to_add
    if not metadata and response.HasField("dynamic_metadata"):
        metadata = MessageToDict(response.dynamic_metadata)
    return Verdict(
        "ok",
        set=overwritten,
        extend=extended,
        remove=tuple(name.lower().encode() for name in response.headers_to_remove),
        query_set=tuple((each.key.encode(), each.value.encode()) for each in response.query_parameters_to_set),
        query_remove=tuple(name.encode() for name in response.query_parameters_to_remove),
        client_set=_fields(each for each in added if each.append_action in _OVERWRITE),
        client_add=_fields(each for each in added if each.append_action not in _OVERWRITE),
        metadata=metadata,
    )


def _split(options: Iterable[Any]) -> tuple[Fields, Fields]:
    """(to set, to append)."""
    listed = list(options)
    return _fields(each for each in listed if not each.append.value), _fields(
        each for each in listed if each.append.value
    )


def _fields(options: Iterable[Any]) -> Fields:
    return tuple((each.header.key.lower().encode(), _value(each.header)) for each in options)


def _value(header: Any) -> bytes:
    return header.value.encode() or bytes(header.raw_value)
