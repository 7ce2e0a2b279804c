"""TCP proxies: the same bootstrap file, connections and endpoints; what clients see, logs and stats are a live Envoy's."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.envoy import Envoy
from harness.eventually import eventually
from harness.isthmus import Proxy
from harness.ports import free_port

PATIENCE = 20.0
TCP_PROXY = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
FORMAT = (
    "%RESPONSE_FLAGS% %UPSTREAM_CLUSTER% in=%BYTES_RECEIVED% out=%BYTES_SENT% host=%UPSTREAM_HOST% "
    "attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT% protocol=%PROTOCOL% status=%RESPONSE_CODE% details=%RESPONSE_CODE_DETAILS% "
    "ended=%CONNECTION_TERMINATION_DETAILS% because=%UPSTREAM_TRANSPORT_FAILURE_REASON% route=%ROUTE_NAME%\n"
)


def address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def log(path: Path) -> list[dict[str, Any]]:
    text = {"text_format_source": {"inline_string": FORMAT}}
    return [{"name": "file", "typed_config": {"@type": FILE_LOG, "path": str(path), "log_format": text}}]


CASES: dict[str, dict[str, Any]] = {
    "served": {"cluster": "answering"},
    "idle": {"cluster": "silent", "idle_timeout": "0.3s"},
    "old": {"cluster": "silent", "max_downstream_connection_duration": "0.3s"},
    "old_with_jitter": {
        "cluster": "silent",
        "max_downstream_connection_duration": "0.2s",
        "max_downstream_connection_duration_jitter_percentage": {"value": 50},
    },
    "unknown_cluster": {"cluster": "missing"},
    "refused": {"cluster": "refusing"},
    "refused_thrice": {"cluster": "refusing", "max_connect_attempts": 3},
    "refused_once": {"cluster": "half_refusing", "max_connect_attempts": 4},
    "no_endpoint": {"cluster": "empty"},
    "full": {"cluster": "full"},
    "weighted": {"weighted_clusters": {"clusters": [{"name": "answering", "weight": 1}]}},
    "weighted_unknown": {"weighted_clusters": {"clusters": [{"name": "missing", "weight": 3}]}},
    "reset": {"cluster": "resetting"},
}


def cluster(name: str, *ports: int, **fields: object) -> dict[str, Any]:
    endpoints = [{"endpoint": {"address": address(port)}} for port in ports]
    assignment = {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}
    return {"name": name, "connect_timeout": "1s", "load_assignment": assignment, **fields}


@dataclass(frozen=True)
class Endpoints:
    """Ports of endpoints that answer with what they were sent, say nothing, reset, and one where nobody listens."""

    answering: int
    silent: int
    resetting: int
    refusing: int


@dataclass(frozen=True)
class Side:
    """One of the two proxies under test, and what each connection to it brought."""

    proxy: Proxy | Envoy
    ports: dict[str, int]
    logs: Path
    answers: dict[str, tuple[bytes, str]]


def bootstrap(ports: dict[str, int], endpoints: Endpoints, logs: Path) -> dict[str, Any]:
    listeners = []
    for name, fields in CASES.items():
        tcp = {"@type": TCP_PROXY, "stat_prefix": name, "access_log": log(logs / name), **fields}
        chain = {"filters": [{"name": "tcp", "typed_config": tcp}]}
        listener = {"name": name, "address": address(ports[name]), "filter_chains": [chain], "stat_prefix": name}
        listeners.append({**listener, "access_log": log(logs / f"{name}.listener")})
    none = {"thresholds": [{"max_connections": 0}]}
    clusters = [
        cluster("answering", endpoints.answering),
        cluster("silent", endpoints.silent),
        cluster("resetting", endpoints.resetting),
        cluster("refusing", endpoints.refusing),
        cluster("half_refusing", endpoints.refusing, endpoints.answering),
        cluster("empty"),
        cluster("full", endpoints.answering, circuit_breakers=none),
    ]
    return {"admin": {"address": address(0)}, "static_resources": {"listeners": listeners, "clusters": clusters}}


def serve(sock: socket.socket, kind: str) -> None:
    with sock:
        sock.settimeout(PATIENCE)
        received = b""
        try:
            while data := sock.recv(65536):
                received += data
                if kind == "resetting":
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    return
            if kind == "answering":
                sock.sendall(b"you said " + received)
        except OSError:
            return


@contextmanager
def endpoint(kind: str) -> Iterator[int]:
    listening = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                sock, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(sock, kind), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield int(listening.getsockname()[1])
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(PATIENCE)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    directory = tmp_path_factory.mktemp("tcp")
    with endpoint("answering") as answering, endpoint("silent") as silent, endpoint("resetting") as resetting:
        endpoints = Endpoints(answering, silent, resetting, free_port())
        ours, theirs = ({name: free_port() for name in CASES} for _ in range(2))
        (directory / "ours").mkdir()
        (directory / "theirs").mkdir()
        with (
            Proxy(bootstrap(ours, endpoints, directory / "ours"), directory) as proxy,
            Envoy(bootstrap(theirs, endpoints, directory / "theirs"), directory) as envoy,
        ):
            proxy.wait_ready()
            envoy.wait_ready()
            sides = Side(proxy, ours, directory / "ours", {}), Side(envoy, theirs, directory / "theirs", {})
            for side in sides:
                side.answers.update({case: exchange(side.ports[case], case) for case in CASES})
                # Which of the two endpoints comes first is drawn; of two connections one or both try the refusing one first.
                exchange(side.ports["refused_once"], "refused_once")
            yield sides


def exchange(port: int, case: str) -> tuple[bytes, str]:
    """What came back, and how the connection ended."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
        received = b""
        sock.settimeout(PATIENCE)
        try:
            sock.sendall(b"hello")
            if CASES[case].get("cluster") != "silent":
                sock.shutdown(socket.SHUT_WR)
            while data := sock.recv(4096):
                received += data
        except OSError:  # reset, or not connected any more once the reset came before the shutdown
            return received, "reset"
        return received, "closed"


def logged(path: Path) -> str:
    """The only line of a log, without what differs by the addresses of the run. Envoy writes every ten seconds."""

    def lines() -> list[str]:
        text = path.read_text() if path.exists() else ""
        found = {re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", line) for line in text.splitlines()}
        if path.name.startswith("refused_once"):
            found = {line for line in found if "attempts=1" not in line}
        assert len(found) == 1, found
        return [*found]

    return eventually(lines)[0]


COUNTED = (
    "tcp.{case}.downstream_cx_total",
    "tcp.{case}.downstream_cx_no_route",
    "tcp.{case}.downstream_cx_rx_bytes_total",
    "tcp.{case}.downstream_cx_tx_bytes_total",
    "tcp.{case}.idle_timeout",
    "tcp.{case}.max_downstream_connection_duration",
    "listener.{case}.downstream_cx_total",
    "listener.{case}.downstream_cx_destroy",
)


@pytest.mark.parametrize("case", CASES)
def test_connections_end_logs_say_and_stats_count_as_envoys(pair: tuple[Side, Side], case: str) -> None:
    ours, theirs = pair
    assert ours.answers[case] == theirs.answers[case]
    assert logged(ours.logs / case) == logged(theirs.logs / case)
    stats = [{name: side.proxy.stat(name.format(case=case)) for name in COUNTED} for side in pair]
    assert stats[0] == stats[1]


@pytest.mark.parametrize("case", CASES)
def test_the_listener_logs_connections_as_envoys(pair: tuple[Side, Side], case: str) -> None:
    ours, theirs = pair
    assert logged(ours.logs / f"{case}.listener") == logged(theirs.logs / f"{case}.listener")
