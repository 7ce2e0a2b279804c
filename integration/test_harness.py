"""The harness itself: what measures the mesh must be right first."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo.bounds import check_split
from harness import peers
from harness.eventually import eventually
from harness.http import fetch
from harness.load import Load, Target
from harness.origin import Origin
from harness.ports import free_port
from harness.process import Process, ProcessError
from harness.response import Response, ResponseReader
from harness.tally import Latencies

ANSWER = b"HTTP/1.1 200 OK\r\nX-Version: v2\r\nX-Instance: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nT: 1\r\n\r\n"


@pytest.mark.parametrize("stream", [ANSWER, CHUNKED], ids=["length", "chunked"])
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_a_response_is_read_in_pieces_of_any_size(stream: bytes, size: int) -> None:
    reader = ResponseReader()
    read = [reader.receive(stream[start : start + size]) for start in range(0, len(stream), size)]
    assert read[:-1] == [None] * (len(read) - 1)
    assert isinstance(read[-1], Response)
    assert (read[-1].text, read[-1].size) == ("hello", 5)


def test_two_responses_on_one_connection_are_told_apart() -> None:
    reader = ResponseReader()
    first, second = reader.receive(ANSWER), reader.receive(CHUNKED)
    assert first is not None
    assert (first.status, first.version, first.instance, first.close) == (200, "v2", "a", False)
    assert second is not None
    assert (second.status, second.version, second.close) == (503, "", True)


def test_bytes_after_a_response_are_an_error() -> None:
    with pytest.raises(ValueError, match="after the end"):
        ResponseReader().receive(ANSWER + b"x")


def test_a_response_without_length_ends_with_the_connection() -> None:
    reader = ResponseReader()
    assert reader.receive(b"HTTP/1.1 200 OK\r\n\r\nhel") is None
    assert reader.receive(b"lo") is None
    ended = reader.end()
    assert ended is not None
    assert (ended.text, ended.close) == ("hello", True)


def test_a_cut_response_is_none() -> None:
    for end in range(len(ANSWER)):
        reader = ResponseReader()
        assert reader.receive(ANSWER[:end]) is None
        assert reader.end() is None


def test_quantiles_of_latencies_are_right_within_five_percent() -> None:
    latencies = Latencies()
    for ms in range(1, 1001):
        latencies.record(ms / 1000)
    assert latencies.quantile(0.5) == pytest.approx(0.5, rel=0.06)
    assert latencies.quantile(0.99) == pytest.approx(0.99, rel=0.06)


@pytest.mark.parametrize(
    ("weights", "counted", "passes"),
    [
        ({"v1": 90, "v2": 10}, {"v1": 1800, "v2": 200}, True),
        ({"v1": 90, "v2": 10}, {"v1": 1740, "v2": 260}, False),
        ({"v1": 0, "v2": 100}, {"v2": 2000}, True),
        ({"v1": 0, "v2": 100}, {"v1": 1, "v2": 1999}, False),
        ({"v1": 50, "v2": 50}, {"v1": 1000, "v2": 999, "v3": 1}, False),
        ({"v1": 50, "v2": 50}, {}, False),
    ],
)
def test_a_split_is_checked_by_its_binomial_bound(
    weights: dict[str, int], counted: dict[str, int], passes: bool
) -> None:
    assert check_split(weights, counted).passed == passes


def test_a_load_counts_requests_under_the_phase_in_which_they_were_sent(tmp_path: Path) -> None:
    with Origin("reviews", "v1", tmp_path) as origin, Load(Target(origin.address, connections=4)) as load:
        first = load.sample("first", 100)
        second = load.sample("second", 100)
        total = load.stop()
    assert first.failed == second.failed == 0
    assert second.statuses == {200: second.requests}
    assert second.versions == {"v1": second.requests}
    assert total.requests == load.tally("start").requests + first.requests + second.requests


def test_a_load_forgets_no_request_of_a_phase_long_ago(tmp_path: Path) -> None:
    with Origin("reviews", "v1", tmp_path) as origin, Load(Target(origin.address, connections=2)) as load:
        for number in range(70):
            load.sample(f"phase {number}", 2)
        total = load.stop()
    assert total.requests >= 140
    assert total.versions["v1"] == total.latencies.count == total.requests
    with pytest.raises(KeyError):
        load.tally("phase 1")


def test_a_load_counts_failures_with_their_reason(tmp_path: Path) -> None:
    with Origin("reviews", "v1", tmp_path) as origin, Load(Target(origin.address, connections=2, rate=400)) as load:
        load.sample("up", 20)
        down = load.phase("down")
        origin.kill()
        eventually(lambda: down.failed >= 4)
        load.stop()
    assert not load.tally("up").failures or "closed" in load.tally("up").failures[0].reason
    assert any("connect" in failure.reason for failure in down.failures)


def test_the_origin_describes_the_request_that_it_received(tmp_path: Path) -> None:
    with Origin("reviews", "v2", tmp_path) as origin:
        echo = fetch(origin.address, "/echo?a=b", method="POST", body=b"12345", headers={"X-One": "1"}).json()
        streamed = fetch(origin.address, "/bytes/200000?chunked")
        refused = fetch(origin.address, "/status/503")
    assert (echo["method"], echo["target"], echo["body_bytes"]) == ("POST", "/echo?a=b", 5)
    assert ["X-One", "1"] in echo["headers"]
    assert (len(streamed.body), streamed.header("transfer-encoding")) == (200000, "chunked")
    assert (refused.status, refused.header("x-version")) == (503, "v2")


def test_a_process_that_ends_early_is_an_error_with_its_output() -> None:
    process = Process("failing", [sys.executable, "-c", "print('no such thing'); raise SystemExit(3)"])
    with pytest.raises(ProcessError, match=r"(?s)ended with 3 before it was ready.*no such thing"):
        process.wait_until(lambda: False)


def test_stop_kills_what_ignores_sigterm() -> None:
    ignoring = "import signal, time; signal.signal(15, signal.SIG_IGN); print('here', flush=True); time.sleep(60)"
    process = Process("stubborn", [sys.executable, "-c", ignoring])
    process.wait_until(lambda: "here" in process.tail())
    assert process.stop(within=0.1) == -9


def test_children_die_with_their_parent(tmp_path: Path) -> None:
    """Even when the parent is killed and cannot clean up."""
    code = (
        "import sys, time; from harness.process import Process\n"
        "child = Process('child', [sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid)); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as parent:
        try:
            pid = int(eventually(lambda: (tmp_path / "pid").read_text() or None))
        finally:
            parent.kill()
    eventually(lambda: not _alive(pid))


def _alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False


def test_a_missing_peer_fails_where_peers_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISTHMUS_REQUIRE_PEERS", "1")
    with pytest.raises(peers.MissingPeerError, match="apt-get install something"):
        peers.command("no-such-program", "something")
    monkeypatch.delenv("ISTHMUS_REQUIRE_PEERS")
    with pytest.raises(pytest.skip.Exception, match="apt-get install something"):
        peers.command("no-such-program", "something")


def test_a_peer_is_installed_once_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISTHMUS_PEERS", str(tmp_path))
    built = []

    def build(directory: Path) -> None:
        built.append(directory)
        (directory / "program").touch()
        if len(built) == 1:
            raise OSError("the network is down")

    with pytest.raises(OSError, match="the network is down"):
        peers.install("thing", build)
    assert peers.install("thing", build) == peers.install("thing", build) == tmp_path / "thing"
    assert len(built) == 2
    assert (tmp_path / "thing" / "program").exists()


def test_ports_are_given_once() -> None:
    assert len({free_port() for _ in range(50)}) == 50


def test_eventually_gives_up_with_what_it_saw() -> None:
    started = time.monotonic()
    with pytest.raises(AssertionError, match="the moon"):
        eventually(lambda: False, within=0.1, what="the moon")
    with pytest.raises(OSError, match="refused"):
        eventually(_refuse, within=0.1)
    assert time.monotonic() > started


def _refuse() -> bool:
    raise OSError("refused")
