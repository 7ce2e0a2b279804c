from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def tools(request: pytest.FixtureRequest) -> ModuleType:
    """The conftest of this folder."""
    plugin = request.config.pluginmanager.getplugin(str(Path(__file__).with_name("conftest.py")))
    assert isinstance(plugin, ModuleType)
    return plugin


class SlowUpstream:
    """Takes one request and answers it when told to."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.asked = threading.Event()
        self.answer = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        connection, _ = self.listener.accept()
        with connection:
            connection.recv(65536)
            self.asked.set()
            self.answer.wait(30)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate")

    def close(self) -> None:
        self.answer.set()
        self.thread.join(30)
        self.listener.close()


@pytest.fixture
def upstream() -> Iterator[SlowUpstream]:
    slow = SlowUpstream()
    yield slow
    if not slow.asked.is_set():
        socket.create_connection(("127.0.0.1", slow.port)).close()
    slow.close()


def validate(path: Path, *arguments: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "isthmus_proxy", "validate", "-c", str(path), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_static_file_is_served_and_shown(start: Callable[..., Any], tools: ModuleType) -> None:
    proxy = start(tools.document())
    assert proxy.get("/direct") == (200, "hi")
    assert proxy.get("/")[0] == 503, "nothing listens upstream"
    stats = proxy.admin("/stats")[1]
    assert "http.in.downstream_rq_2xx: 1\n" in stats
    assert "cluster.up.upstream_cx_connect_fail: 1\n" in stats
    assert "cluster_manager.active_clusters: 1\n" in stats
    assert "server.state: 0\n" in stats
    prometheus = proxy.admin("/stats/prometheus")[1]
    assert (
        'envoy_http_downstream_rq_xx{envoy_response_code_class="2",envoy_http_conn_manager_prefix="in"} 1\n'
        in prometheus
    )
    dump = json.loads(proxy.admin("/config_dump?include_eds")[1])["configs"]
    assert [config["@type"].rpartition(".")[2] for config in dump][:3] == [
        "BootstrapConfigDump",
        "ClustersConfigDump",
        "EndpointsConfigDump",
    ]
    routes = next(config for config in dump if config["@type"].endswith("RoutesConfigDump") and len(config) > 1)
    assert routes["static_route_configs"][0]["route_config"]["name"] == "local"
    assert "up::127.0.0.1:1::cx_connect_fail::1\n" in proxy.admin("/clusters")[1]


def test_why_and_memory_of_a_running_proxy(start: Callable[..., Any], tools: ModuleType) -> None:
    proxy = start(tools.document())
    status, body = proxy.admin("/why?path=/direct&authority=a")
    assert (status, json.loads(body)["outcome"]) == (200, "answer 200")
    status, body = proxy.admin("/why?path=/other&authority=a")
    assert json.loads(body)["clusters"][0]["endpoints"][0]["address"] == "127.0.0.1:1"
    status, body = proxy.admin("/memory")
    assert int(json.loads(body)["total_physical_bytes"]) > 1 << 20


def test_sigterm_finishes_what_runs_and_exits_0(
    start: Callable[..., Any], tools: ModuleType, upstream: SlowUpstream
) -> None:
    proxy = start(tools.document(upstream.port))
    client = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    client.request("GET", "/")
    assert upstream.asked.wait(30)
    proxy.signal(signal.SIGTERM)
    tools.wait_for(lambda: proxy.admin("/ready") == (503, "DRAINING\n"))
    upstream.answer.set()
    response = client.getresponse()
    assert (response.status, response.read(), response.getheader("connection")) == (200, b"late", "close")
    client.close()
    assert proxy.wait() == 0


def test_drain_time_is_the_longest_wait(start: Callable[..., Any], tools: ModuleType, upstream: SlowUpstream) -> None:
    proxy = start(tools.document(upstream.port), "--drain-time-s", "0.2")
    client = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    client.request("GET", "/")
    assert upstream.asked.wait(30)
    proxy.signal(signal.SIGTERM)
    assert proxy.wait() == 0
    client.close()
    assert "1 connections did not end in time" in proxy.stderr


def test_sigint_and_a_second_sigterm_quit_at_once(
    start: Callable[..., Any], tools: ModuleType, upstream: SlowUpstream
) -> None:
    proxy = start(tools.document())
    proxy.signal(signal.SIGINT)
    assert proxy.wait() == 130
    proxy = start(tools.document(upstream.port))
    client = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    client.request("GET", "/")
    assert upstream.asked.wait(30)
    proxy.signal(signal.SIGTERM)
    tools.wait_for(lambda: proxy.admin("/ready")[0] == 503)
    proxy.signal(signal.SIGTERM)
    assert proxy.wait() == 0
    client.close()


def test_orders_over_the_admin_port(start: Callable[..., Any], tools: ModuleType) -> None:
    proxy = start(tools.document())
    port = proxy.port
    assert proxy.admin("/healthcheck/fail", "POST") == (200, "OK\n")
    assert proxy.admin("/ready") == (503, "DRAINING\n")
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    client.request("GET", "/direct")
    response = client.getresponse()
    assert (response.status, response.getheader("connection")) == (200, "close")
    client.close()
    assert proxy.admin("/healthcheck/ok", "POST") == (200, "OK\n")
    assert proxy.admin("/ready") == (200, "LIVE\n")
    assert proxy.admin("/drain_listeners", "POST") == (200, "OK\n")

    def refused() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    tools.wait_for(refused)
    assert proxy.admin("/quitquitquit", "POST") == (200, "OK\n")
    assert proxy.wait() == 0


def test_sigusr1_opens_the_access_log_anew(start: Callable[..., Any], tools: ModuleType, tmp_path: Path) -> None:
    path, old = tmp_path / "access.log", tmp_path / "access.log.1"
    proxy = start(tools.document(access_log=path))
    proxy.get("/direct")
    tools.wait_for(lambda: path.exists() and "GET /direct HTTP/1.1" in path.read_text())
    path.rename(old)
    proxy.signal(signal.SIGUSR1)
    # The signal arrives some time soon; the line after it goes to the new file.
    tools.wait_for(lambda: proxy.get("/direct") and path.exists())
    assert proxy.process.poll() is None


def test_an_unreachable_control_plane_is_named_once_and_tried_again(
    start: Callable[..., Any], tools: ModuleType
) -> None:
    port = tools.free_port()
    proxy = start(tools.with_ads(port), ready=False)

    def failures() -> int:
        lines = dict(line.split(": ") for line in proxy.admin("/stats?filter=cds")[1].splitlines())
        return int(lines["cluster_manager.cds.update_failure"])

    tools.wait_for(lambda: failures() >= 3)
    assert proxy.admin("/ready") == (503, "PRE_INITIALIZING\n")
    assert proxy.stderr.count("[warning]") == 1
    assert (
        f"control plane xds (127.0.0.1:{port}): UNAVAILABLE: remote connection failure: Connection refused"
        in proxy.stderr
    )
    assert "Connection refused" in proxy.stderr
    proxy.signal(signal.SIGTERM)
    assert proxy.wait() == 0


def with_streams_of_their_own(tools: ModuleType) -> Any:
    config = tools.with_ads(tools.free_port())
    source = {"api_config_source": config["dynamic_resources"].pop("ads_config"), "resource_api_version": "V3"}
    config["dynamic_resources"] = {"cds_config": source, "lds_config": source}
    return config


def test_without_ads_clusters_are_asked_for_by_their_own_stream(start: Callable[..., Any], tools: ModuleType) -> None:
    proxy = start(with_streams_of_their_own(tools), ready=False)

    def failures() -> dict[str, int]:
        lines = dict(line.split(": ") for line in proxy.admin("/stats?filter=update_failure")[1].splitlines())
        return {name: int(lines[name]) for name in lines}

    tools.wait_for(lambda: failures()["cluster_manager.cds.update_failure"] >= 2)
    assert failures()["listener_manager.lds.update_failure"] == 0
    proxy.signal(signal.SIGTERM)
    assert proxy.wait() == 0


def test_the_last_good_configuration_is_of_ads_only(
    start: Callable[..., Any], tools: ModuleType, tmp_path: Path
) -> None:
    proxy = start(with_streams_of_their_own(tools), "--xds-cache-path", str(tmp_path / "cache"), ready=False)
    assert proxy.wait() == 1
    assert "--xds-cache-path" in proxy.stderr
    assert "keeps what comes over ads only" in proxy.stderr
    assert "Traceback" not in proxy.stderr


def test_a_taken_port_is_one_clear_message(start: Callable[..., Any], tools: ModuleType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        proxy = start(tools.document(port=port), ready=False)
        assert proxy.wait() == 1
    (line,) = proxy.stderr.splitlines()
    assert line.startswith("isthmus-proxy: listener web: address.socket_address = 127.0.0.1:")
    assert "Address already in use; stop the process that holds the port, or choose another" in line


def test_a_remote_admin_address_needs_permission(start: Callable[..., Any], tools: ModuleType) -> None:
    config = tools.document()
    config["admin"]["address"]["socket_address"]["address"] = "0.0.0.0"
    proxy = start(config, ready=False)
    assert proxy.wait() == 1
    (line,) = proxy.stderr.splitlines()
    assert "admin.address.socket_address = 0.0.0.0:0: the admin port can stop the proxy" in line
    assert "--allow-remote-admin" in line
    allowed = start(config, "--allow-remote-admin")
    assert allowed.get("/direct") == (200, "hi")


def test_log_lines_are_json_on_request(start: Callable[..., Any], tools: ModuleType) -> None:
    proxy = start(tools.document(), "--log-format", "json")
    line = json.loads(proxy.stderr.splitlines()[0])
    assert (line["level"], line["logger"]) == ("info", "isthmus_proxy.serving")
    assert line["message"].startswith("serving 1 listeners of ")


def test_validate(tools: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "good.json"
    path.write_text(json.dumps(tools.document()))
    assert validate(path) == (0, f"configuration '{path}' OK\n", "")
    config = tools.document()
    config["static_resources"]["clusters"][0]["lb_policy"] = "CLUSTER_PROVIDED"
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(config))
    status, output, errors = validate(bad)
    assert (status, output) == (1, "")
    assert errors.count("\n") == 1
    assert errors.startswith(f"isthmus-proxy: {bad}: static_resources.clusters[0].lb_policy = ")
    assert "ORIGINAL_DST" in errors
    status, _, errors = validate(tmp_path / "absent.yaml")
    assert status == 1
    assert errors == f"isthmus-proxy: {tmp_path / 'absent.yaml'}: file: cannot be read: No such file or directory\n"


@pytest.mark.parametrize(
    ("option", "number", "reason"),
    [
        *(("concurrency", number, "a number of workers from 1 to 256") for number in ("0", "257", "-1", "x")),
        *(
            ("busy-poll-ms", number, "a number of milliseconds from 0 to 10000")
            for number in ("10001", "-1", "nan", "x")
        ),
    ],
)
def test_a_number_that_cannot_be_is_refused(option: str, number: str, reason: str) -> None:
    command = [sys.executable, "-m", "isthmus_proxy", "run", "-c", "x", f"--{option}={number}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"{number} is not {reason}" in done.stderr


def test_a_proxy_that_polls_busily_serves(start: Callable[..., Any], tools: ModuleType) -> None:
    proxy = start(tools.document(), "--busy-poll-ms", "2")
    assert proxy.get("/direct") == (200, "hi")


def test_nothing_heavy_is_loaded_for_a_static_file(tools: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "bootstrap.json"
    path.write_text(json.dumps(tools.document()))
    script = (
        "import sys, trio\n"
        "from pathlib import Path\n"
        "from isthmus_proxy import app, serving\n"
        "from isthmus_proxy.config.bootstrap import load\n"
        "def main():\n"
        "    async def run():\n"
        "        with trio.move_on_after(0.3):\n"
        "            await serving.serve(load(Path(sys.argv[1])), app.Options())\n"
        "    trio.run(run)\n"
        "main()\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules} & {'grpc', 'h2', 'asyncio', 'hpack', 're2'}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == []
