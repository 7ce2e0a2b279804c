"""One exchange as data.accesslog.v3.HTTPAccessLogEntry, with what Envoy fills in."""

from __future__ import annotations

from typing import Any

from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType, HTTPAccessLogEntry, ResponseFlags

from isthmus_proxy.http.message import Headers
from isthmus_proxy.http.stream_info import StreamInfo

_VERSIONS = {
    "HTTP/1.0": HTTPAccessLogEntry.HTTP10,
    "HTTP/1.1": HTTPAccessLogEntry.HTTP11,
    "HTTP/2": HTTPAccessLogEntry.HTTP2,
}
FLAGS = {
    "LH": "failed_local_healthcheck",
    "UH": "no_healthy_upstream",
    "UT": "upstream_request_timeout",
    "LR": "local_reset",
    "UR": "upstream_remote_reset",
    "UF": "upstream_connection_failure",
    "UC": "upstream_connection_termination",
    "UO": "upstream_overflow",
    "NR": "no_route_found",
    "DI": "delay_injected",
    "FI": "fault_injected",
    "RL": "rate_limited",
    "RLSE": "rate_limit_service_error",
    "DC": "downstream_connection_termination",
    "URX": "upstream_retry_limit_exceeded",
    "SI": "stream_idle_timeout",
    "IH": "invalid_envoy_request_headers",
    "DPE": "downstream_protocol_error",
    "UMSDR": "upstream_max_stream_duration_reached",
    "RFCF": "response_from_cache_filter",
    "NFCF": "no_filter_config_found",
    "DT": "duration_timeout",
    "UPE": "upstream_protocol_error",
    "NC": "no_cluster_found",
    "OM": "overload_manager",
    "DF": "dns_resolution_failure",
}
"""Fields of ResponseFlags by the names of flags in text logs."""
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"))


def http_entry(info: StreamInfo, request_headers: tuple[bytes, ...], response_headers: tuple[bytes, ...]) -> Any:
    """The entry, with these additional headers, lower case, where they occur."""
    entry: Any = HTTPAccessLogEntry(protocol_version=_VERSIONS.get(info.protocol, 0))
    _common(entry.common_properties, info)
    _request(entry.request, info, request_headers)
    _response(entry.response, info, response_headers)
    return entry


def _common(common: Any, info: StreamInfo) -> None:
    _address(common.downstream_remote_address, info.downstream_remote)
    _address(common.downstream_direct_remote_address, info.downstream_direct_remote)
    _address(common.downstream_local_address, info.downstream_local)
    if info.upstream_host:
        common.upstream_cluster = info.upstream_cluster
    if info.upstream is not None:
        _address(common.upstream_remote_address, info.upstream.remote)
        _address(common.upstream_local_address, info.upstream.local)
    common.start_time.FromNanoseconds(int(info.start_time * 1e6) * 1000)
    _times(common, info)
    common.route_name = info.route_name
    common.upstream_transport_failure_reason = info.upstream_transport_failure
    common.connection_termination_details = info.connection_termination_details
    common.upstream_request_attempt_count = info.attempts
    common.access_log_type = AccessLogType.DownstreamEnd
    common.stream_id = _text(info.request_id or b"")
    flags = ResponseFlags()
    for flag in info.flags:
        if flag in FLAGS:
            setattr(flags, FLAGS[flag], True)
    if info.flags:
        common.response_flags.CopyFrom(flags)


def _times(common: Any, info: StreamInfo) -> None:
    for name, at in (
        ("time_to_last_rx_byte", info.request_end_at),
        ("time_to_first_upstream_rx_byte", info.upstream_first_byte_at),
        ("time_to_first_downstream_tx_byte", info.response_first_byte_at),
        ("time_to_last_downstream_tx_byte", info.ended_at),
        ("duration", info.ended_at),
    ):
        if at is not None:
            getattr(common, name).FromNanoseconds(max(int((at - info.started_at) * 1e9), 0))


def _request(request: Any, info: StreamInfo, wanted: tuple[bytes, ...]) -> None:
    head = info.request
    request.request_body_bytes = info.bytes_received
    if head is None:
        return
    method = _text(head.method)
    if method in _METHODS:
        request.request_method = method
    request.scheme, request.authority = _text(head.scheme), _text(head.authority)
    request.path, request.original_path = _text(head.path), _text(info.original_path or b"")
    for field, name in (
        ("user_agent", b"user-agent"),
        ("referer", b"referer"),
        ("forwarded_for", b"x-forwarded-for"),
        ("request_id", b"x-request-id"),
    ):
        setattr(request, field, _text(head.get(name) or b""))
    request.request_headers_bytes = _size(head.headers) + sum(
        len(name) + len(value)
        for name, value in (
            (b":method", head.method),
            (b":path", head.path),
            (b":authority", head.authority),
            (b":scheme", head.scheme),
        )
    )
    _copy(request.request_headers, head.headers, wanted)


def _response(response: Any, info: StreamInfo, wanted: tuple[bytes, ...]) -> None:
    response.response_code.value = info.status
    response.response_body_bytes = info.bytes_sent
    response.response_code_details = info.response_code_details
    if info.response is not None:
        response.response_headers_bytes = _size(info.response.headers) + len(":status") + 3
        _copy(response.response_headers, info.response.headers, wanted)


def _copy(target: Any, headers: Headers, wanted: tuple[bytes, ...]) -> None:
    for name in wanted:
        values = [value for key, value in headers if key == name]
        if values:
            target[_text(name)] = _text(b",".join(values))


def _size(headers: Headers) -> int:
    return sum(len(name) + len(value) for name, value in headers)


def _address(target: Any, text: str) -> None:
    host, _, port = text.rpartition(":")
    if not port.isdigit():
        if text:
            target.pipe.path = text
        return
    target.socket_address.address, target.socket_address.port_value = host.strip("[]"), int(port)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
