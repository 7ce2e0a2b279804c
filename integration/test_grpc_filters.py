"""grpc_stats, grpc_web and grpc_http1_bridge, held against a live Envoy: the same requests, answers and counters."""

from __future__ import annotations

import base64
import http.client
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import grpc
import pytest

from harness.envoy import Envoy
from harness.eventually import eventually
from harness.isthmus import Proxy
from harness.origin import Origin
from test_grpc import DEADLINE_S, SERVICE, Service, bootstrap

HTTP = "type.googleapis.com/envoy.extensions.filters.http"
BRIDGE = {"@type": f"{HTTP}.grpc_http1_bridge.v3.Config"}
WEB = {"@type": f"{HTTP}.grpc_web.v3.GrpcWeb"}
STATS = {"@type": f"{HTTP}.grpc_stats.v3.FilterConfig"}
Answer = tuple[int, dict[str, str], bytes]


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


class Pair:
    """Envoy and Isthmus with the same filters before one server; what is asked of both must be answered alike."""

    def __init__(self, stack: ExitStack, folder: Path, *filters: dict[str, Any], origin: int | None = None) -> None:
        if origin is None:
            service = Service()
            stack.callback(service.stop)
        self.proxies: list[Proxy | Envoy] = []
        self.ports: list[int] = []
        for name in ("envoy", "isthmus"):
            place = folder / name
            place.mkdir()
            port, made = bootstrap(origin or service.port, place, http2=origin is None)
            chain = made["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
            chain["http_filters"][:0] = [{"name": f"f{n}", "typed_config": each} for n, each in enumerate(filters)]
            proxy: Proxy | Envoy = Envoy(made, place, log="error") if name == "envoy" else Proxy(made, place)
            stack.enter_context(proxy)
            self.proxies.append(proxy)
            proxy.wait_ready()
            self.ports.append(port)

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        """What both answer over HTTP/1.1."""
        envoy, isthmus = (_post(port, path, body, headers) for port in self.ports)
        assert isthmus == envoy
        return isthmus

    def stats(self) -> dict[str, int]:
        """The counters of gRPC below the cluster, which must be the same."""
        envoy, isthmus = (_grpc_stats(proxy) for proxy in self.proxies)
        assert isthmus == envoy
        return isthmus


def _post(port: int, path: str, body: bytes, headers: dict[str, str]) -> Answer:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)) as connection:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        # Envoy closes a connection whose request it has answered before its end; we read on where that is cheap.
        for name in ("date", "x-envoy-upstream-service-time", "connection"):
            fields.pop(name, None)
        return response.status, fields, response.read()


def _grpc_stats(proxy: Proxy | Envoy) -> dict[str, int]:
    lines = proxy.admin("/stats?filter=cluster.origin.grpc").body.decode().splitlines()
    counted = dict(line.split(": ", 1) for line in lines)
    return {name: int(value) for name, value in counted.items() if value.isdigit() and value != "0"}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def test_bridge(stack: ExitStack, tmp_path: Path) -> None:
    pair = Pair(stack, tmp_path, BRIDGE)
    headers = {"content-type": "application/grpc", "te": "trailers"}
    status, fields, body = pair.post(f"/{SERVICE}/Unary", framed(b"hello"), headers)
    assert (status, fields["grpc-status"], body) == (200, "0", framed(b"hello"))
    status, fields, body = pair.post(f"/{SERVICE}/Fail", framed(b"7 not you"), headers)
    assert fields["grpc-status"] == "7"
    pair.post(f"/{SERVICE}/Download", framed(b"5 6"), headers)
    pair.post(f"/{SERVICE}/None", framed(b""), headers)
    pair.post(f"/{SERVICE}/Unary", b"", {"content-type": "text/plain"})


def web_messages(body: bytes) -> list[tuple[int, bytes]]:
    """(flags, content) of each message of a body of gRPC-Web."""
    found = []
    while body:
        length = int.from_bytes(body[1:5], "big")
        found.append((body[0], body[5 : 5 + length]))
        body = body[5 + length :]
    return found


@pytest.mark.parametrize("kind", ["application/grpc-web", "application/grpc-web+proto"])
def test_web(stack: ExitStack, tmp_path: Path, kind: str) -> None:
    pair = Pair(stack, tmp_path, WEB)
    headers = {"content-type": kind}
    status, fields, body = pair.post(f"/{SERVICE}/Unary", framed(b"hello"), headers)
    assert (status, fields["content-type"]) == (200, "application/grpc-web+proto")
    first, last = web_messages(body)
    assert first == (0, b"hello")
    assert last[0] == 0x80
    assert b"grpc-status:0\r\n" in last[1]
    pair.post(f"/{SERVICE}/Fail", framed(b"7 not you"), headers)
    assert len(web_messages(pair.post(f"/{SERVICE}/Download", framed(b"5 6"), headers)[2])) == 3
    pair.post(f"/{SERVICE}/None", framed(b""), headers)
    pair.post(f"/{SERVICE}/Unary", framed(b"x"), {"content-type": "application/grpc-web+json"})
    assert pair.stats()[f"cluster.origin.grpc-web.{SERVICE}.Unary.success"] == 1


def test_web_text(stack: ExitStack, tmp_path: Path) -> None:
    pair = Pair(stack, tmp_path, WEB)
    headers = {"content-type": "application/grpc-web-text", "accept": "application/grpc-web-text"}
    _, fields, body = pair.post(f"/{SERVICE}/Unary", base64.b64encode(framed(b"hello")), headers)
    assert fields["content-type"] == "application/grpc-web-text+proto"
    assert body.startswith(base64.b64encode(framed(b"hello")))
    pair.post(f"/{SERVICE}/Download", base64.b64encode(framed(b"5 6")), headers)
    pair.post(f"/{SERVICE}/Fail", base64.b64encode(framed(b"7 no")), headers)
    assert pair.post(f"/{SERVICE}/Unary", b"!!!!", headers)[0] == 400
    assert pair.post(f"/{SERVICE}/Unary", b"AAA", headers)[0] == 400
    only_out = {"content-type": "application/grpc-web", "accept": "application/grpc-web-text+proto"}
    pair.post(f"/{SERVICE}/Unary", framed(b"hello"), only_out)


@pytest.mark.parametrize("path", ["/status/503", "/status/404", "/status/200"])
def test_web_answered_by_what_is_no_grpc_server(stack: ExitStack, tmp_path: Path, path: str) -> None:
    origin = stack.enter_context(Origin("plain", "v1", tmp_path / "origin"))
    pair = Pair(stack, tmp_path, WEB, origin=origin.port)
    pair.post(path, framed(b"x"), {"content-type": "application/grpc-web"})
    pair.post(path, base64.b64encode(framed(b"x")), {"content-type": "application/grpc-web-text"})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stats_for_all_methods": True},
        {"stats_for_all_methods": True, "replace_dots_in_grpc_service_name": True},
        {"individual_method_stats_allowlist": {"services": [{"name": SERVICE, "method_names": ["Unary"]}]}},
    ],
)
def test_stats(stack: ExitStack, tmp_path: Path, options: dict[str, Any]) -> None:
    pair = Pair(stack, tmp_path, STATS | options)
    for port in pair.ports:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as opened:
            channel: Any = opened  # the stubs want serialisers, without which bytes are bytes
            channel.unary_unary(f"/{SERVICE}/Unary")(b"hello", timeout=DEADLINE_S)
            list(channel.stream_stream(f"/{SERVICE}/Chat")(iter([b"a", b"b" * 70_000, b""]), timeout=DEADLINE_S))
            list(channel.unary_stream(f"/{SERVICE}/Download")(b"5 6 7", timeout=DEADLINE_S))
            for path, request in ((f"/{SERVICE}/Fail", b"7 no"), (f"/{SERVICE}/None", b""), ("/odd", b"")):
                with pytest.raises(grpc.RpcError):
                    channel.unary_unary(path)(request, timeout=DEADLINE_S)
    eventually(lambda: len(pair.stats()) > 5)
