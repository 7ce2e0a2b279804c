"""Local replies through local_reply_config; the expected values are what a live Envoy 1.40 sends."""

from __future__ import annotations

import pytest

from isthmus_proxy.config.http_connection_manager import compile_http_connection_manager
from isthmus_proxy.config.parse import fill
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.local_reply import ROUTE_NOT_FOUND, LocalReply, headers_of
from isthmus_proxy.http.local_reply_mapping import mapped
from isthmus_proxy.http.message import Headers, RequestHead
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.listener.model import LocalReplies

HTML = {"text_format_source": {"inline_string": "<%LOCAL_REPLY_BODY%>"}, "content_type": "text/html"}
LOST = LocalReply(503, "lost", b"gone away", ("UF",))


def status(op: str, value: int) -> dict[str, object]:
    return {
        "status_code_filter": {"comparison": {"op": op, "value": {"default_value": value, "runtime_key": "k"}}},
    }


def replies(config: dict[str, object]) -> LocalReplies:
    from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm

    proto = hcm.HttpConnectionManager()
    router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    document = {
        "stat_prefix": "s",
        "route_config": {"name": "r"},
        "http_filters": [{"name": "router", "typed_config": router}],
        "local_reply_config": config,
    }
    fill(proto, document)
    compiled = compile_http_connection_manager(proto, "hcm").local_replies
    assert compiled is not None
    return compiled


def sent(config: dict[str, object], reply: LocalReply, *, grpc: bool = False) -> tuple[int, Headers, bytes]:
    info = StreamInfo(0.0, 0.0)
    info.request = RequestHead(b"GET", b"/p", b"a", [(b"x-h", b"1")])
    changed, content_type = mapped(
        replies(config), reply, info, grpc=grpc, edit=lambda headers: headers.append((b"x-v", b"1"))
    )
    return headers_of(changed, grpc=grpc, edit=lambda _: None, content_type=content_type)


def test_a_body_format_applies_to_every_reply() -> None:
    config: dict[str, object] = {
        "body_format": {"json_format": {"b": "%LOCAL_REPLY_BODY%", "s": "%RESPONSE_CODE%", "f": "%RESPONSE_FLAGS%"}}
    }
    body = b'{"b":"gone away","f":"UF","s":503}\n'
    assert sent(config, LOST) == (
        503,
        [(b"x-v", b"1"), (b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")],
        body,
    )
    assert sent(config, ROUTE_NOT_FOUND)[2] == b'{"b":"","f":"NR","s":404}\n'
    code, headers, nothing = sent(config, LOST, grpc=True)
    assert (code, nothing) == (200, b"")
    assert (b"grpc-message", body.rstrip()) in headers


def test_the_first_mapper_that_matches_changes_status_body_and_headers() -> None:
    config: dict[str, object] = {
        "mappers": [
            {"filter": {"and_filter": {"filters": [status("GE", 500), status("LE", 502)]}}, "status_code": 599},
            {
                "filter": status("EQ", 404),
                "status_code": 410,
                "body": {"inline_string": "gone"},
                "headers_to_add": [{"header": {"key": "x-m", "value": "%RESPONSE_CODE% %REQ(:path)%"}}],
            },
            {"filter": {"response_flag_filter": {}}, "body_format_override": HTML},
        ]
    }  # fmt: skip
    assert sent(config, ROUTE_NOT_FOUND) == (
        410,
        [(b"x-v", b"1"), (b"x-m", b"404 /p"), (b"content-length", b"4"), (b"content-type", b"text/plain")],
        b"gone",
    )
    code, headers, body = sent(config, LOST)
    assert (code, body) == (503, b"<gone away>")
    assert (b"content-type", b"text/html") in headers
    assert sent(config, LocalReply(418, "tea"))[0] == 418


@pytest.mark.parametrize(
    ("filter_config", "matches"),
    [
        (status("NE", 503), False),
        ({"duration_filter": {"comparison": {"op": "GE", "value": {"default_value": 0, "runtime_key": "k"}}}}, True),
        ({"not_health_check_filter": {}}, True),
        ({"traceable_filter": {}}, False),
        ({"runtime_filter": {"runtime_key": "k", "percent_sampled": {"numerator": 100}}}, True),
        ({"runtime_filter": {"runtime_key": "k", "percent_sampled": {"numerator": 0}}}, False),
        ({"or_filter": {"filters": [status("EQ", 1), status("EQ", 503)]}}, True),
        ({"header_filter": {"header": {"name": "x-h", "string_match": {"exact": "1"}}}}, True),
        ({"header_filter": {"header": {"name": "x-h", "present_match": True, "invert_match": True}}}, False),
        ({"response_flag_filter": {"flags": ["NR", "UF"]}}, True),
        ({"response_flag_filter": {"flags": ["NR"]}}, False),
        ({"grpc_status_filter": {"statuses": ["UNAVAILABLE"]}}, True),
        ({"grpc_status_filter": {"statuses": ["UNAVAILABLE"], "exclude": True}}, False),
        ({"log_type_filter": {"types": ["DownstreamEnd"]}}, True),
        ({"log_type_filter": {"types": ["DownstreamEnd"], "exclude": True}}, False),
    ],
)
def test_filters(filter_config: dict[str, object], matches: bool) -> None:
    config: dict[str, object] = {"mappers": [{"filter": filter_config, "status_code": 299}]}
    assert sent(config, LOST)[0] == (299 if matches else 503)


@pytest.mark.parametrize(
    ("mapper", "reason"),
    [
        ({}, "filter: is required"),
        ({"filter": status("EQ", 1), "status_code": 600}, "status_code = 600"),
        ({"filter": {"response_flag_filter": {"flags": ["XX"]}}}, "is not a response flag"),
        ({"filter": {"and_filter": {"filters": [status("EQ", 1)]}}}, "needs at least two"),
        ({"filter": status("EQ", 1), "body": {"filename": "/x"}}, "only inline_string"),
    ],
)
def test_what_is_refused(mapper: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        replies({"mappers": [mapper]})
    assert reason in str(caught.value)
