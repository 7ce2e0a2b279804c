"""Questions over gRPC: envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit. Imported by the first question, for its messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from isthmus_proxy.ratelimit.answer import FAILED, Answer, Fields, Status
from isthmus_proxy.ratelimit.descriptors import Descriptor

METHOD = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"


def limit_request(domain: str, descriptors: Sequence[Descriptor]) -> bytes:
    """The serialised RateLimitRequest. What is no UTF-8 in a value becomes an exclamation mark."""
    request = RateLimitRequest(domain=domain)
    for descriptor in descriptors:
        told = request.descriptors.add()
        for key, value in descriptor:
            told.entries.add(key=key, value=value.decode("utf-8", "replace").replace("\ufffd", "!"))
    return bytes(request.SerializeToString())


def read_response(data: bytes) -> Answer:
    """What a RateLimitResponse means: whatever is not over the limit passes."""
    try:
        response = RateLimitResponse.FromString(data)
    except DecodeError:
        return FAILED
    return Answer(
        "over_limit" if response.overall_code == RateLimitResponse.OVER_LIMIT else "ok",
        tuple(_status(each) for each in response.statuses if each.HasField("current_limit")),
        _fields(response.response_headers_to_add),
        _fields(response.request_headers_to_add),
        bytes(response.raw_body),
        MessageToDict(response.dynamic_metadata),
    )


def _status(status: Any) -> Status:
    limit = status.current_limit
    return Status(
        limit.requests_per_unit,
        RateLimitResponse.RateLimit.Unit.Name(limit.unit) if limit.unit in _KNOWN_UNITS else "UNKNOWN",
        limit.name,
        status.limit_remaining,
        status.duration_until_reset.seconds,
    )


_KNOWN_UNITS = frozenset(RateLimitResponse.RateLimit.Unit.values())


def _fields(headers: Any) -> Fields:
    return tuple((each.key.lower().encode(), each.value.encode() or bytes(each.raw_value)) for each in headers)
