"""HTTP and gRPC applications with an SDK for ZooKeeper, each a process; the Java ones beside them do the same for Dubbo and SOFARPC.

``provider http|grpc NAME PORT ZOOKEEPER INTERFACE`` serves and registers itself. A consumer makes the calls that its standard input tells:
``consumer http|grpc sdk ZOOKEEPER INTERFACE`` finds its provider in ZooKeeper,
``consumer http|grpc sidecar ADDRESS HOST`` leaves that to its sidecar.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NoReturn
from urllib.parse import quote, unquote

import grpc
from kazoo.client import KazooClient

from harness.http import fetch
from harness.sdk_consumer import callable_addresses

METHOD = "/matrix.Greeter/Greet"
DEADLINE_S = 5.0
SCHEMES = {"http": "rest", "grpc": "grpc"}
Call = Callable[[str, str, str], str]
"""Address, the name of the host that is called, and what to say; returns the answer or raises."""


def serve_http(name: str, port: int) -> None:
    """Answer GET /TEXT with NAME TEXT, in the background."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = f"{name} {unquote(self.path[1:])}".encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: requests are counted elsewhere."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def serve_grpc(name: str, port: int) -> None:
    """Answer TEXT with NAME TEXT, in the background."""

    def greet(request: bytes, _: grpc.ServicerContext) -> bytes:
        return f"{name} {request.decode()}".encode()

    service, _, method = METHOD[1:].partition("/")
    handlers = {method: grpc.unary_unary_rpc_method_handler(greet)}
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    if not server.add_insecure_port(f"127.0.0.1:{port}"):
        raise OSError(f"port {port} cannot be bound")
    server.start()
    threading.Thread(target=server.wait_for_termination, daemon=True).start()


def call_http(address: str, host: str, text: str) -> str:
    """One request."""
    answer = fetch(address, f"/{quote(text)}", headers={"host": host}, timeout=DEADLINE_S)
    if answer.status != 200:
        raise OSError(f"status {answer.status}: {answer.text}")
    return answer.text


def call_grpc(address: str, host: str, text: str) -> str:
    """One call over a channel of its own."""
    with grpc.insecure_channel(address, (("grpc.default_authority", host),)) as channel:
        answer: bytes = channel.unary_unary(METHOD, None, None)(text.encode(), timeout=DEADLINE_S)
    return answer.decode()


def provide(protocol: str, name: str, port: str, zookeeper: str, interface: str) -> NoReturn:
    """Serve, then register as an SDK with Dubbo's layout does, for as long as the session lives."""
    {"http": serve_http, "grpc": serve_grpc}[protocol](name, int(port))
    client = KazooClient(hosts=zookeeper)
    client.start(20)
    parameters = f"application={name}&interface={interface}&side=provider&dynamic=true"
    url = f"{SCHEMES[protocol]}://127.0.0.1:{port}/{interface}?{parameters}"
    client.create(f"/dubbo/{interface}/providers/{quote(url, safe='')}", ephemeral=True, makepath=True)
    print("ready", flush=True)
    while True:
        threading.Event().wait()


def from_zookeeper(zookeeper: str, interface: str) -> Iterable[str]:
    """The next of the addresses that ZooKeeper shows at that moment, for each call anew; empty where there is none."""
    client = KazooClient(hosts=zookeeper)
    client.start(20)
    path = f"/dubbo/{interface}"
    for folder in ("providers", "configurators"):
        client.ensure_path(f"{path}/{folder}")
    for number in itertools.count():
        children = [client.get_children(f"{path}/{folder}") for folder in ("providers", "configurators")]
        addresses = callable_addresses(*children)
        yield addresses[number % len(addresses)] if addresses else ""


def consume(protocol: str, kind: str, where: str, name: str) -> None:
    """Make a call for each line of standard input: ``greet TEXT``."""
    call: Call = {"http": call_http, "grpc": call_grpc}[protocol]
    addresses = iter(from_zookeeper(where, name) if kind == "sdk" else itertools.repeat(where))
    print("ready", flush=True)
    for line in sys.stdin:
        address = next(addresses)
        if not address:
            print("error the registry shows no address", flush=True)
            continue
        try:
            print("ok", call(address, name if kind == "sidecar" else address, line.split()[1]), flush=True)
        except (OSError, grpc.RpcError) as error:
            print("error", type(error).__name__, " ".join(str(error).split()), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "provider":
        provide(*sys.argv[2:])
    consume(*sys.argv[2:])
