"""gRPC through the proxy, by grpcio on both ends: all kinds of calls, and the cases of gRPC's interoperability tests that bytes can tell.

Every case runs through Isthmus alone, through Isthmus with an Envoy in front, and with an Envoy behind.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from bench.http_plan import HttpPlan, envoy_bootstrap
from harness.envoy import Envoy
from harness.eventually import eventually
from harness.isthmus import Proxy
from harness.ports import free_port

SERVICE = "isthmus.test.TestService"
DEADLINE_S = 30.0
LARGE = 4 * 1024 * 1024
LIMITS = [("grpc.max_receive_message_length", 2 * LARGE), ("grpc.max_send_message_length", 2 * LARGE)]
Metadata = tuple[tuple[str, str | bytes], ...]


class Service:
    """Answers bytes with bytes, in the four kinds of calls; ``cancelled`` counts calls that their clients gave up."""

    def __init__(self) -> None:
        self.cancelled = 0
        self.sent = 0
        self._lock = threading.Lock()
        self._server = grpc.server(futures.ThreadPoolExecutor(16), options=LIMITS)
        handlers = {
            "Unary": grpc.unary_unary_rpc_method_handler(self._unary),
            "Download": grpc.unary_stream_rpc_method_handler(self._download),
            "Upload": grpc.stream_unary_rpc_method_handler(self._upload),
            "Chat": grpc.stream_stream_rpc_method_handler(self._chat),
            "Fail": grpc.unary_unary_rpc_method_handler(self._fail),
            "Sleep": grpc.unary_stream_rpc_method_handler(self._sleep),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def stop(self) -> None:
        """End at once."""
        self._server.stop(None).wait()

    def _metadata(self, context: grpc.ServicerContext) -> None:
        """The interoperability tests' custom_metadata: one field comes back at the beginning, one at the end."""
        asked = dict(context.invocation_metadata())
        if "x-grpc-test-echo-initial" in asked:
            context.send_initial_metadata((("x-grpc-test-echo-initial", asked["x-grpc-test-echo-initial"]),))
        if "x-grpc-test-echo-trailing-bin" in asked:
            context.set_trailing_metadata((("x-grpc-test-echo-trailing-bin", asked["x-grpc-test-echo-trailing-bin"]),))

    def _unary(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self._metadata(context)
        return request

    def _download(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        self._metadata(context)
        for size in map(int, request.decode().split()):
            with self._lock:
                self.sent += 1
            yield b"d" * size

    def _upload(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        self._metadata(context)
        return b"%d" % sum(map(len, requests))

    def _chat(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        self._metadata(context)
        yield from requests

    def _fail(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        code, _, message = request.decode().partition(" ")
        context.abort(next(each for each in grpc.StatusCode if each.value[0] == int(code)), message)
        raise AssertionError("unreachable")

    def _sleep(self, _request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        gone = threading.Event()
        context.add_callback(gone.set)
        context.send_initial_metadata((("x-begun", "1"),))
        gone.wait(DEADLINE_S)
        self._given_up()
        yield from ()

    def _given_up(self) -> None:
        with self._lock:
            self.cancelled += 1


def bootstrap(origin_port: int, folder: Path, *, http2: bool = True) -> tuple[int, dict[str, Any]]:
    """(port, bootstrap) of a proxy to a server, of gRPC unless it speaks no HTTP/2; both Isthmus and Envoy run it."""
    plan = HttpPlan(free_port(), free_port(), origin_port, folder, http2=http2)
    made: dict[str, Any] = envoy_bootstrap(plan)
    manager = made["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    route = manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]
    route["timeout"] = "0s"
    route["max_stream_duration"] = {"grpc_timeout_header_max": "0s"}
    return plan.port, made


class Scene:
    """A server, the proxies before it, and a client's channel to the first of them."""

    def __init__(self, stack: ExitStack, kind: str, folder: Path) -> None:
        self.service = Service()
        stack.callback(self.service.stop)
        port = self.service.port
        if kind == "envoy behind":
            port = self._envoy(stack, port, folder / "behind")
        port, made = bootstrap(port, folder)
        self.proxy = stack.enter_context(Proxy(made, folder))
        self.proxy.wait_ready()
        if kind == "envoy in front":
            port = self._envoy(stack, port, folder / "front")
        # The stubs want serialisers, without which bytes are bytes.
        self.channel: Any = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{port}", options=LIMITS))

    def _envoy(self, stack: ExitStack, port: int, folder: Path) -> int:
        folder.mkdir()
        port, made = bootstrap(port, folder)
        envoy = stack.enter_context(Envoy(made, folder, log="error"))
        envoy.wait_ready()
        return port

    def unary(self, name: str, request: bytes, **options: Any) -> Any:
        return self.channel.unary_unary(f"/{SERVICE}/{name}").with_call(request, timeout=DEADLINE_S, **options)

    def download(self, request: bytes, name: str = "Download", **options: Any) -> Any:
        return self.channel.unary_stream(f"/{SERVICE}/{name}")(request, **{"timeout": DEADLINE_S, **options})

    def upload(self, requests: Iterator[bytes], **options: Any) -> Any:
        return self.channel.stream_unary(f"/{SERVICE}/Upload").future(requests, timeout=DEADLINE_S, **options)

    def chat(self, requests: Iterator[bytes], **options: Any) -> Any:
        return self.channel.stream_stream(f"/{SERVICE}/Chat")(requests, timeout=DEADLINE_S, **options)


@pytest.fixture(scope="module", params=["isthmus", "envoy in front", "envoy behind"])
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(stack, request.param, tmp_path_factory.mktemp("grpc"))


def test_empty_unary(scene: Scene) -> None:
    assert scene.unary("Unary", b"")[0] == b""


@pytest.mark.parametrize("size", [314_159, LARGE])
def test_large_unary(scene: Scene, size: int) -> None:
    message = bytes(range(256)) * (size // 256)
    assert scene.unary("Unary", message)[0] == message


def test_client_streaming(scene: Scene) -> None:
    sizes = (27_182, 8, 1_828, 45_904)
    assert scene.upload(iter([b"u" * size for size in sizes])).result() == b"74922"


def test_server_streaming(scene: Scene) -> None:
    assert [len(each) for each in scene.download(b"31415 9 2653 58979")] == [31_415, 9, 2_653, 58_979]


def test_ping_pong(scene: Scene) -> None:
    """Each message is answered before the next is sent."""
    asked: list[bytes] = [b"p" * size for size in (31_415, 9, 2_653, 58_979)]
    turn = threading.Semaphore(1)

    def requests() -> Iterator[bytes]:
        for each in asked:
            assert turn.acquire(timeout=DEADLINE_S)
            yield each

    answered = []
    for answer in scene.chat(requests()):
        answered.append(answer)
        turn.release()
    assert answered == asked


def test_empty_stream(scene: Scene) -> None:
    assert list(scene.chat(iter(()))) == []


def test_large_messages_both_ways_at_once(scene: Scene) -> None:
    messages = [bytes([number]) * (1024 * 1024) for number in range(8)]
    assert list(scene.chat(iter(messages))) == messages


def test_custom_metadata(scene: Scene) -> None:
    metadata = (("x-grpc-test-echo-initial", "test_initial"), ("x-grpc-test-echo-trailing-bin", b"\xab\xab\xab"))
    _, call = scene.unary("Unary", b"", metadata=metadata)
    streamed = scene.chat(iter([b"one"]), metadata=metadata)
    assert list(streamed) == [b"one"]
    for each in (call, streamed):
        assert ("x-grpc-test-echo-initial", "test_initial") in each.initial_metadata()
        assert ("x-grpc-test-echo-trailing-bin", b"\xab\xab\xab") in each.trailing_metadata()


def status_of(act: Callable[[], object]) -> tuple[grpc.StatusCode, str | None]:
    with pytest.raises(grpc.RpcError) as caught:
        act()
    return caught.value.code(), caught.value.details()


def test_status_code_and_message(scene: Scene) -> None:
    told = status_of(lambda: scene.unary("Fail", b"2 test status message"))
    assert told == (grpc.StatusCode.UNKNOWN, "test status message")


def test_special_status_message(scene: Scene) -> None:
    message = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
    assert status_of(lambda: scene.unary("Fail", b"2 " + message.encode())) == (grpc.StatusCode.UNKNOWN, message)


def test_every_status_passes(scene: Scene) -> None:
    for code in grpc.StatusCode:
        number = code.value[0]
        if number:
            assert status_of(lambda: scene.unary("Fail", b"%d x" % number)) == (code, "x")  # noqa: B023


def test_unimplemented_method_and_service(scene: Scene) -> None:
    assert status_of(lambda: scene.unary("Nothing", b""))[0] is grpc.StatusCode.UNIMPLEMENTED
    other = scene.channel.unary_unary("/isthmus.test.Nothing/Unary")
    assert status_of(lambda: other(b"", timeout=DEADLINE_S))[0] is grpc.StatusCode.UNIMPLEMENTED


def test_timeout_on_sleeping_server(scene: Scene) -> None:
    """All on the way keep the same deadline; where another's timer beats the client's, the client sees that one's reset."""
    before = scene.service.cancelled
    seen: list[grpc.StatusCode] = []

    def timed_out() -> bool:
        seen.append(status_of(lambda: list(scene.download(b"", "Sleep", timeout=0.2)))[0])
        return seen[-1] is grpc.StatusCode.DEADLINE_EXCEEDED

    eventually(timed_out, what="a call that its client's own timer ends")
    assert set(seen) <= {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED}
    eventually(lambda: scene.service.cancelled > before)


def test_cancel_after_begin(scene: Scene) -> None:
    before = scene.service.cancelled
    call = scene.download(b"", "Sleep")
    assert ("x-begun", "1") in call.initial_metadata()
    call.cancel()
    assert status_of(lambda: next(call))[0] is grpc.StatusCode.CANCELLED
    eventually(lambda: scene.service.cancelled > before)


def test_a_slow_reader_slows_the_server_and_fills_no_memory(scene: Scene) -> None:
    """200 MB are offered to a client that takes one message at a time: what is in between is bounded."""
    count, size = 200, 1024 * 1024
    before_sent, before_rss = scene.service.sent, resident_mb(scene.proxy.process.pid)
    call = scene.download(b" ".join([b"%d" % size] * count))
    assert len(next(call)) == size
    previous = -1
    while (sent := scene.service.sent - before_sent) != previous:  # the server has come to a halt
        previous = sent
        time.sleep(0.5)
    assert sent < count
    assert resident_mb(scene.proxy.process.pid) - before_rss < 80
    assert sum(1 for _ in call) == count - 1


def resident_mb(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
