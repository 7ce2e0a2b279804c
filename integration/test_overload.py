"""Watermarks: the proxy is driven to them by connections, memory and delay, and does what a live Envoy does at each pressure."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from types import TracebackType
from typing import Any, Self

import pytest

from harness.envoy import Envoy
from harness.eventually import eventually
from harness.isthmus import Proxy
from harness.origin import Origin
from harness.ports import free_port

Json = dict[str, Any]
_HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_MONITORS = "type.googleapis.com/envoy.extensions.resource_monitors"
_OWN = "type.googleapis.com/isthmus.resource_monitors.v1"
_STRUCT = "type.googleapis.com/xds.type.v3.TypedStruct"
LEVELS = {
    "disable_http_keepalive": 0.5,
    "stop_accepting_requests": 0.7,
    "reject_incoming_connections": 0.8,
    "stop_accepting_connections": 0.9,
}


def address(port: int) -> Json:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def bootstrap(port: int, origin: int, monitor: Json, levels: dict[str, float]) -> Json:
    manager = {
        "@type": _HCM,
        "stat_prefix": "in",
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
        "route_config": {
            "virtual_hosts": [
                {"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]}
            ]
        },
    }
    hosts = [{"endpoint": {"address": address(origin)}}]
    cluster = {
        "name": "c",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "c", "endpoints": [{"lb_endpoints": hosts}]},
    }
    chains = [{"filters": [{"name": "http", "typed_config": manager}]}]
    actions = [
        {
            "name": f"envoy.overload_actions.{name}",
            "triggers": [{"name": monitor["name"], "threshold": {"value": level}}],
        }
        for name, level in levels.items()
    ]
    return {
        "admin": {"address": address(0)},
        "static_resources": {
            "listeners": [{"name": "l", "address": address(port), "filter_chains": chains}],
            "clusters": [cluster],
        },
        "overload_manager": {"refresh_interval": "0.05s", "resource_monitors": [monitor], "actions": actions},
    }


def own(kind: str, **value: object) -> Json:
    struct = {"@type": _STRUCT, "type_url": f"{_OWN}.{kind}", "value": value}
    return {"name": kind, "typed_config": struct}


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    with Origin("overload", "v1", tmp_path_factory.mktemp("origin")) as found:
        yield found


class Client:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        self.connection.connect()

    def get(self, path: str = "/") -> tuple[int, str | None, str]:
        """Status, connection header, and the body where the proxy answers itself."""
        self.connection.request("GET", path)
        answer = self.connection.getresponse()
        body = answer.read().decode()
        return answer.status, answer.getheader("connection"), body if answer.status != 200 else ""

    def close(self) -> None:
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def once(port: int) -> object:
    """What a request on a connection of its own is answered."""
    with Client(port) as client:
        return outcome(client.get)


def outcome(act: Callable[[], object]) -> object:
    """What comes of it, or how the connection ends."""
    try:
        return act()
    except (http.client.RemoteDisconnected, ConnectionResetError):
        return "closed"
    except TimeoutError:
        return "no answer"


def write(pressure: Path, value: float) -> None:
    """Put the file in its place whole: Envoy looks only at files that are moved there."""
    scratch = pressure.with_suffix(".new")
    scratch.write_text(str(value))
    scratch.rename(pressure)


def by_pressure(port: int, pressure: Path, settled: Callable[[int], bool]) -> dict[float, object]:
    """At each pressure: what an old connection and a new one are answered."""
    seen: dict[float, object] = {}
    for value in (0.1, 0.5, 0.7, 0.8, 0.9, 0.2):
        write(pressure, 0.1)
        eventually(lambda: settled(10), what="at ease")
        old = Client(port)
        old.get()
        write(pressure, value)
        eventually(lambda value=value: settled(int(value * 100)), what=f"pressure {value}")  # type: ignore[misc]
        new = Client(port)
        seen[value] = outcome(old.get), outcome(new.get)
        old.close()
        new.close()
    return seen


STATS = (
    "http.in.downstream_cx_overload_disable_keepalive",
    "http.in.downstream_rq_overload_close",
    "overload.file.failed_updates",
    "overload.file.pressure",
    *(f"overload.envoy.overload_actions.{name}.{stat}" for name in LEVELS for stat in ("active", "scale_percent")),
)


def test_the_same_pressures_do_the_same_in_envoy(origin: Origin, tmp_path: Path) -> None:
    seen: list[object] = []
    for kind in (Proxy, Envoy):
        pressure = tmp_path / f"pressure-{kind.__name__}"
        pressure.write_text("0.1")
        config = {"@type": f"{_MONITORS}.injected_resource.v3.InjectedResourceConfig", "filename": str(pressure)}
        port = free_port()
        file = bootstrap(port, origin.port, {"name": "file", "typed_config": config}, LEVELS)
        with kind(file, tmp_path / kind.__name__) as proxy:
            eventually(lambda proxy=proxy: proxy.admin("/ready").status == 200)  # type: ignore[misc]

            def settled(value: int, proxy: Proxy | Envoy = proxy) -> bool:
                return stat(proxy, "overload.file.pressure") == value

            answers = by_pressure(port, pressure, settled)
            rejected = stat(proxy, f"listener.127.0.0.1_{port}.downstream_cx_overload_reject")
            seen.append([answers, rejected, {name: stat(proxy, name) for name in STATS}])
    ours, envoys = seen
    assert ours == envoys


def stat(proxy: Proxy | Envoy, name: str) -> int | None:
    for line in proxy.admin("/stats").text.splitlines():
        key, _, value = line.partition(": ")
        if key == name:
            return int(value)
    return None


@contextmanager
def serving(directory: Path, origin: Origin, monitor: Json, levels: dict[str, float]) -> Iterator[tuple[Proxy, int]]:
    port = free_port()
    with Proxy(bootstrap(port, origin.port, monitor, levels), directory) as proxy:
        yield proxy.wait_ready(), port


def active(proxy: Proxy, name: str) -> bool:
    return proxy.stat(f"overload.envoy.overload_actions.{name}.active") == 1


def test_driven_by_connections(origin: Origin, tmp_path: Path) -> None:
    """First connections are not kept, then none are accepted, then requests are refused; and all goes back."""
    levels = {"disable_http_keepalive": 0.5, "stop_accepting_connections": 0.8, "stop_accepting_requests": 0.9}
    monitor = own("DownstreamConnections", max_active_downstream_connections=10)
    with serving(tmp_path, origin, monitor, levels) as (proxy, port), ExitStack() as stack:
        clients = [Client(port) for _ in range(4)]
        for client in clients:
            stack.callback(client.close)
            assert client.get() == (200, None, "")
        clients += [Client(port) for _ in range(1)]
        eventually(lambda: active(proxy, "disable_http_keepalive"))
        clients += [Client(port) for _ in range(3)]
        eventually(lambda: active(proxy, "stop_accepting_connections"))
        assert not active(proxy, "stop_accepting_requests")
        waiting = Client(port)  # in the kernel's queue
        assert outcome(waiting.get) == "no answer"
        assert clients[4].get() == (200, "close", "")
        for client in clients:
            client.close()
        eventually(lambda: not active(proxy, "disable_http_keepalive"))
        again = Client(port)
        assert again.get() == (200, None, "")
        again.close()
        waiting.close()


def test_driven_by_memory(origin: Origin, tmp_path: Path) -> None:
    """Clients that read nothing make the proxy hold megabytes; it refuses requests until they are gone."""
    with serving(tmp_path / "idle", origin, heap(1 << 40), {}) as (proxy, _):
        idle = proxy.stat("server.memory_physical_size")
    limit = idle + (24 << 20)
    with serving(tmp_path, origin, heap(limit), {"stop_accepting_requests": 0.95, "shrink_heap": 0.9}) as (proxy, port):
        probe = Client(port)
        assert probe.get()[0] == 200
        held: list[socket.socket] = []
        for _ in range(60):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", port))
            # Many answers, none so large that it would pass by the proxy's memory.
            sock.sendall(b"GET /bytes/100000 HTTP/1.1\r\nhost: a\r\n\r\n" * 200)
            held.append(sock)
        eventually(lambda: active(proxy, "stop_accepting_requests"), within=60)
        assert probe.get() == (503, "close", "envoy overloaded")
        for sock in held:
            sock.close()
        eventually(lambda: not active(proxy, "stop_accepting_requests"), within=60)
        probe.close()
        assert once(port) == (200, None, "")


def heap(limit: int) -> Json:
    config = {"@type": f"{_MONITORS}.fixed_heap.v3.FixedHeapConfig", "max_heap_size_bytes": limit}
    return {"name": "heap", "typed_config": config}


def test_driven_by_delay(origin: Origin, tmp_path: Path) -> None:
    """A proxy that gets no processor comes late to everything, and says so."""
    monitor = own("EventLoopDelay", max_delay="0.2s")
    with serving(tmp_path, origin, monitor, {"stop_accepting_requests": 1.0}) as (proxy, port):
        assert once(port) == (200, None, "")

        def refused_once() -> bool:
            proxy.process.send_signal(SIGSTOP)
            time.sleep(0.3)
            proxy.process.send_signal(SIGCONT)
            return once(port) == (503, "close", "envoy overloaded")

        eventually(refused_once)
        eventually(lambda: once(port) == (200, None, ""))


def test_a_hard_limit_of_connections(origin: Origin, tmp_path: Path) -> None:
    config = {
        "@type": f"{_MONITORS}.downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": 3,
    }
    with serving(tmp_path, origin, {"name": "most", "typed_config": config}, {}) as (proxy, port):
        clients = [Client(port) for _ in range(3)]
        assert [client.get()[0] for client in clients] == [200] * 3
        assert once(port) == "closed"
        assert proxy.stat(f"listener.127.0.0.1_{port}.downstream_global_cx_overflow") == 1
        clients.pop().close()
        eventually(lambda: once(port) == (200, None, ""))
        for client in clients:
            client.close()
