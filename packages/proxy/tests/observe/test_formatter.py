from __future__ import annotations

import json
import socket
import time

import pytest

from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.message import RequestHead, ResponseHead
from isthmus_proxy.http.stream_info import StreamInfo, UpstreamEnd
from isthmus_proxy.observe.formatter import DEFAULT_FORMAT, TextLine, compile_json, compile_text
from isthmus_proxy.observe.operators import PLAIN


def exchange() -> StreamInfo:
    """A finished exchange with an answer of the upstream."""
    info = StreamInfo(started_at=100.0, start_time=1795460828.2284)
    info.request = RequestHead(
        b"GET",
        b"/a?b=c",
        b"web:80",
        [(b"user-agent", b"curl/8"), (b"x-request-id", b"id-1"), (b"u", "é".encode()), (b"raw", b"\xe9")],
    )
    info.response = ResponseHead(200, [(b"x-envoy-upstream-service-time", b"7")])
    info.status = 200
    info.bytes_received, info.bytes_sent = 5, 1234
    info.request_end_at, info.upstream_first_byte_at, info.ended_at = 100.0021, 100.0076, 100.0127
    info.response_code_details = "via_upstream"
    info.upstream_host, info.upstream_cluster = "10.0.0.1:8080", "outbound|80||web"
    info.upstream = UpstreamEnd("10.0.0.2:4711", "10.0.0.1:8080", None)
    info.downstream_remote, info.downstream_local = "[::1]:5000", "127.0.0.1:15001"
    info.attempts, info.connection_id, info.route_name = 1, 9, "r1"
    return info


def unanswered() -> StreamInfo:
    """A connection whose first bytes were no request."""
    info = StreamInfo(started_at=1.0, start_time=1795460828.0)
    info.ended_at = 1.0
    info.status = 400
    info.flag("DPE")
    return info


def text(pattern: str, info: StreamInfo | None = None, *, omit_empty: bool = False) -> str:
    return compile_text(pattern, omit_empty=omit_empty)(info or exchange()).decode("latin-1")


def test_the_default_format_is_envoys() -> None:
    assert text(DEFAULT_FORMAT) == (
        '[2026-11-23T19:07:08.228Z] "GET /a?b=c HTTP/1.1" 200 - 5 1234 12 7 "-" "curl/8" "id-1" "web:80" "10.0.0.1:8080"\n'
    )


EVERYTHING = " ".join(
    [
        *(f"%{name}%" for name in PLAIN if name != "HOSTNAME"),
        "%REQ(U)% %REQ(RAW)% %REQ(:PATH):3% %REQ(ABSENT?USER-AGENT)% %REQ(X-REQUEST-ID)% %REQ(X-REQUEST-ID):3% 100%%",
        "%REQ(ABSENT?X-REQUEST-ID)% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% %RESP(DATE)% %RESP(ABSENT)% %START_TIME%",
    ]
)


def of_repeated_heads(number: int, request: RequestHead, response: ResponseHead) -> StreamInfo:
    """One of the exchanges that share two planned heads, after what is its own was put into them."""
    info = exchange()
    info.request, info.response = request, response
    info.started_at -= number
    info.start_time += number
    info.bytes_sent, info.bytes_received, info.attempts = number, 2 * number, number
    info.upstream_host, info.downstream_remote = f"10.0.0.{number}:1", f"c:{number}"
    info.upstream = UpstreamEnd(f"[::{number}]:2", f"10.0.0.{number}:1", None)
    info.request_id = b"id-%d" % number
    info.flags = ("UF",) * (number % 2)
    index = [name for name, _ in request.headers].index(b"x-request-id")
    request.headers[index] = (b"x-request-id", b"id-%d" % number)
    response.headers[0] = (b"x-envoy-upstream-service-time", b"%d" % number)
    return info


@pytest.mark.parametrize("omit_empty", [False, True])
def test_lines_of_repeated_heads_are_what_they_are_without_memory(omit_empty: bool) -> None:
    render = compile_text(EVERYTHING, omit_empty=omit_empty)
    assert isinstance(render, TextLine)
    planned = [exchange(), exchange()]
    planned[1].request = RequestHead(b"PUT", b"/100%", b"b", [(b"x-request-id", b""), (b"user-agent", b"50%")])
    for number in range(1, 9):
        request, response = planned[number % 2].request, planned[number % 2].response
        assert request is not None
        assert response is not None
        info = of_repeated_heads(number, request, response)
        request.repeated = response.repeated = False
        expected = render(info)
        request.repeated = response.repeated = True
        assert render(info) == expected
    assert render.remembered == 2


def test_what_is_not_known_is_a_dash() -> None:
    line = text(DEFAULT_FORMAT, unanswered())
    assert line == '[2026-11-23T19:07:08.000Z] "- - HTTP/1.1" 400 DPE 0 0 0 - "-" "-" "-" "-" "-"\n'
    assert text("a%REQ(X)%b", omit_empty=True) == "ab"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("%REQ(X-ABSENT?USER-AGENT)%", "curl/8"),
        ("%REQ(USER-AGENT):4%", "curl"),
        ("%REQ(HOST)%", "web:80"),
        ("%REQ(:scheme)%", "http"),
        ("%RESP(:status)%", "200"),
        ("%RESP(x-none?x-envoy-upstream-service-time)%", "7"),
        ("%RESPONSE_CODE_DETAILS%", "via_upstream"),
        ("%REQUEST_DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION%", "2 7 5"),
        ("%UPSTREAM_CLUSTER% %UPSTREAM_LOCAL_ADDRESS%", "outbound|80||web 10.0.0.2:4711"),
        ("%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %UPSTREAM_REMOTE_PORT%", "10.0.0.1 8080"),
        ("%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "[::1]:5000 ::1"),
        ("%DOWNSTREAM_LOCAL_PORT%", "15001"),
        ("%UPSTREAM_REQUEST_ATTEMPT_COUNT% %CONNECTION_ID% %ROUTE_NAME%", "1 9 r1"),
        ("%VIRTUAL_CLUSTER_NAME% %REQUESTED_SERVER_NAME% %UPSTREAM_TRANSPORT_FAILURE_REASON%", "- - -"),
        ("%HOSTNAME%", socket.gethostname()),
        ("100%% %PROTOCOL%", "100% HTTP/1.1"),
        ("%START_TIME(%Y/%m/%dT%H:%M:%S%z %s)%", "2026/11/23T19:07:08+0000 1795460828"),
        ("%START_TIME(%3f %6f %9f %1f %E3S)%", "228 228400 228400000 2 08.228"),
        ("%EMIT_TIME%", "2026-11-23T19:07:08.241Z"),
        ("", ""),
        ("no operators", "no operators"),
        ("ünï", "ünï".encode().decode("latin-1")),
    ],
)
def test_operators(pattern: str, expected: str) -> None:
    assert text(pattern) == expected


def test_header_bytes_leave_as_they_came() -> None:
    assert compile_text("%REQ(raw)% %REQ(u)%")(exchange()) == b"\xe9 \xc3\xa9"


def test_the_original_path_is_logged_after_a_rewrite() -> None:
    info = exchange()
    info.original_path = b"/before"
    assert text("%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", info) == "/before"


def test_flags_are_joined() -> None:
    info = exchange()
    info.flag("URX")
    info.flag("UF")
    assert text("%RESPONSE_FLAGS%", info) == "URX,UF"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("%DYNAMIC_METADATA(a.b:user)%", "ann"),
        ("%DYNAMIC_METADATA(a.b:user):2%", "an"),
        ("%DYNAMIC_METADATA(a.b:deep:n)%", "3"),
        ("%DYNAMIC_METADATA(a.b:deep)%", '{"n":3,"yes":true}'),
        ("%DYNAMIC_METADATA(a.b:user:more)%", "-"),
        ("%DYNAMIC_METADATA(other)%", "-"),
        ("%FILTER_STATE(k:PLAIN)%", "v"),
        ("%FILTER_STATE(other)%", "-"),
    ],
)
def test_what_filters_say_of_an_exchange(pattern: str, expected: str) -> None:
    info = exchange()
    info.set_metadata("a.b", {"user": "bob", "deep": {"n": 3.0, "yes": True}})
    info.set_metadata("a.b", {"user": "ann"})
    info.set_filter_state("k", "v")
    assert text(pattern, info) == expected
    assert text(pattern, exchange()) == "-"


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("%NOPE%", "unknown or unsupported operator NOPE"),
        ("a %DYNAMIC_METADATA()%", "DYNAMIC_METADATA needs a name"),
        ("%FILTER_STATE(a:HEX)%", "only support PLAIN/TYPED"),
        ("%REQ%", "REQ needs a name"),
        ("%REQ()%", "REQ needs a name"),
        ("%REQ(a", "no valid command at position 0"),
        ("x%y", "no valid command at position 1"),
        ("%REQ(a):x%", "no valid command at position 0"),
        ("%DURATION(5)%", "DURATION takes no argument"),
        ("%PROTOCOL:2%", "PROTOCOL takes no argument"),
        ("%START_TIME(%Y):3%", "START_TIME takes no length"),
        ("%REQ(a?b?c)%", "More than 1 alternative header"),
    ],
)
def test_bad_formats_are_refused_by_name(pattern: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as refused:
        compile_text(pattern)
    assert refused.value.path == "text_format"
    with pytest.raises(ConfigError) as refused:
        compile_json({"a": {"b": ["x", pattern]}})
    assert refused.value.path == "json_format.a.b[1]"


def test_json_keeps_types_and_nesting_as_envoy_does() -> None:
    document = {
        "zcode": "%RESPONSE_CODE%",
        "mixed": "a %RESPONSE_CODE%",
        "unset": "%REQ(X)%",
        "mixunset": "a%REQ(X)%b",
        "nest": (("b", "%BYTES_SENT%"), ("lit", "x"), ("num", 5.0), ("t", True), ("l", ["%PROTOCOL%", 3.5])),
        "utf": "%REQ(u)%",
    }
    line = compile_json(document)(exchange())
    assert line == (
        b'{"mixed":"a 200","mixunset":"a-b","nest":{"b":1234,"l":["HTTP/1.1",3.5],"lit":"x","num":5,"t":true},'
        b'"unset":null,"utf":"\xc3\xa9","zcode":200}\n'
    )


def test_json_leaves_empty_values_out_on_request() -> None:
    line = compile_json({"a": "%REQ(X)%", "b": "a%REQ(X)%b", "c": "%RESPONSE_CODE%"}, omit_empty=True)(exchange())
    assert json.loads(line) == {"b": "ab", "c": 200}


def test_json_stays_json_whatever_a_client_sends() -> None:
    info = exchange()
    assert info.request is not None
    info.request.headers.append((b"evil", b'\xff"\\\x01'))
    assert json.loads(compile_json({"a": "%REQ(evil)%"})(info)) == {"a": 'ÿ"\\\x01'}


def test_local_time_follows_the_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    try:
        assert text("%START_TIME_LOCAL(%H:%M)%") == "21:07"
        assert text("%START_TIME_LOCAL%") == "2026-11-23T21:07:08.228+0200"
    finally:
        monkeypatch.undo()
        time.tzset()
