"""A plain Envoy file serves curl in our proxy, installed alone, and is answered alike in Envoy."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import peers
from harness.envoy import Envoy, validate
from harness.http import Response, fetch
from harness.isthmus import Proxy
from harness.origin import Origin
from harness.ports import free_port
from harness.process import Process, run
from isthmus_proxy.tls.testing import Authority

PROXY = Path(__file__).parent.parent / "packages" / "proxy"
EXAMPLES = PROXY / "examples"
# Headers whose value differs from one answer to the next, whoever gives it.
VARYING = {"date", "x-envoy-upstream-service-time", "x-request-id"}


@dataclass(frozen=True, slots=True)
class Pair:
    """The same file in both proxies; addresses of the listener."""

    isthmus: str
    envoy: str


def on_ports(text: str, first: Origin, second: Origin) -> tuple[str, int]:
    """The example with ports of this run; returns it and the listener's port."""
    port = free_port()
    replaced = text.replace("port_value: 10000", f"port_value: {port}").replace("port_value: 9901", "port_value: 0")
    replaced = replaced.replace("port_value: 9080", f"port_value: {first.port}").replace(
        "port_value: 9081", f"port_value: {second.port}"
    )
    return replaced, port


@pytest.fixture(scope="module")
def origins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Origin, Origin]]:
    directory = tmp_path_factory.mktemp("origins")
    with Origin("first", "v1", directory) as first, Origin("second", "v2", directory) as second:
        yield first, second


@pytest.fixture(scope="module")
def pair(origins: tuple[Origin, Origin], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    directory = tmp_path_factory.mktemp("static")
    text = (EXAMPLES / "static.yaml").read_text()
    ours, our_port = on_ports(text, *origins)
    theirs, their_port = on_ports(text, *origins)
    with Proxy(ours, directory) as proxy, Envoy(theirs, directory) as envoy:
        proxy.wait_ready()
        envoy.wait_ready()
        yield Pair(f"127.0.0.1:{our_port}", f"127.0.0.1:{their_port}")


REQUESTS = {
    "default route": ("GET", "/", {}, None),
    "direct response": ("GET", "/healthz", {}, None),
    "header match": ("GET", "/", {"x-canary": "yes"}, None),
    "prefix rewrite": ("GET", "/api/items?x=1", {}, None),
    "redirect": ("GET", "/a/b?c=d", {"host": "old.example.com"}, None),
    "wildcard domain": ("GET", "/", {"host": "www.old.example.com"}, None),
    "head": ("HEAD", "/", {}, None),
    "body": ("POST", "/anything", {}, b"x" * 100_000),
    "status of the origin": ("GET", "/status/404", {}, None),
    "server error of the origin": ("GET", "/status/503", {}, None),
    "no content": ("GET", "/status/204", {}, None),
    "chunked answer": ("GET", "/bytes/100000?chunked", {}, None),
}


def without_varying(answer: Response) -> list[tuple[str, str]]:
    return [(name, "" if name in VARYING else value) for name, value in answer.headers]


@pytest.mark.parametrize("case", REQUESTS, ids=str)
def test_status_body_and_headers_are_envoys(pair: Pair, case: str) -> None:
    method, path, headers, body = REQUESTS[case]
    ours, theirs = (
        fetch(address, path, method=method, headers={"host": "shop.example.com", **headers}, body=body)
        for address in (pair.isthmus, pair.envoy)
    )
    assert (ours.status, ours.body) == (theirs.status, theirs.body)
    assert without_varying(ours) == without_varying(theirs)


@pytest.mark.parametrize("path", ["/echo", "/api/echo?q=1"])
def test_the_origin_sees_the_request_that_envoy_sends(pair: Pair, path: str) -> None:
    headers = {
        "host": "shop.example.com",
        "x-one": "1",
        "te": "trailers",
        "connection": "x-hop",
        "x-hop": "2",
        "accept": "*/*",
    }
    ours, theirs = (fetch(address, path, headers=headers).json() for address in (pair.isthmus, pair.envoy))
    for seen in (ours, theirs):
        seen["headers"] = [[name, "" if name.lower() in VARYING else value] for name, value in seen["headers"]]
        del seen["head"]
    assert ours == theirs


def test_curl_is_served(pair: Pair) -> None:
    curl = peers.command("curl", "curl")
    done = run([curl, "-sS", "-i", f"http://{pair.isthmus}/"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("HTTP/1.1 200 OK\r\n") or done.stdout.startswith("HTTP/1.1 200 OK\n")
    assert '"service": "first"' in done.stdout


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What some examples look for in ./certs."""
    authority = Authority(tmp_path_factory.mktemp("certs"))
    for name in ("shop", "admin", "client", "service"):
        authority.issue(name, f"DNS:{name}.example.com")
    return authority.directory


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_valid_in_both(example: Path, certificates: Path, tmp_path: Path) -> None:
    path = tmp_path / example.name
    path.write_text(example.read_text().replace(": certs", f": {certificates}"))
    ours = run([sys.executable, "-m", "isthmus_proxy", "validate", "-c", path])
    assert ours.returncode == 0, ours.stdout + ours.stderr
    accepted, said = validate(path)
    assert accepted, said


def test_proxy_installs_alone_and_serves(origins: tuple[Origin, Origin], tmp_path: Path) -> None:
    """In an environment that holds nothing else of ours; grpcio comes with xds-protos and stays out of the process."""
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip: list[str | Path] = [
        environment / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    done = run([*pip, PROXY], env={"ISTHMUS_COMPILE": "never"}, within=600)  # the session ``compiled`` does the other
    assert done.returncode == 0, done.stdout + done.stderr
    text, port = on_ports((EXAMPLES / "static.yaml").read_text(), *origins)
    config = tmp_path / "static.yaml"
    config.write_text(text)
    with Process("isthmus-proxy alone", [environment / "bin" / "isthmus-proxy", "run", "-c", config]) as proxy:
        proxy.wait_until(lambda: fetch(f"127.0.0.1:{port}", "/healthz").status == 200)
        assert fetch(f"127.0.0.1:{port}", "/").json()["service"] == "first"
        assert "/grpc/" not in Path(f"/proc/{proxy.pid}/maps").read_text()
        assert proxy.stop() == 0
