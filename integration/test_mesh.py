"""The whole way: registry, bridge, control plane, sidecars, service; our proxy and Envoy side by side on one control plane."""

import contextlib
import functools
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from demo import pushes
from demo.bounds import check_split
from demo.script import GRACE_S
from demo.shop import RATINGS, REVIEWS, ClientSpec, Shop
from harness.eventually import eventually
from harness.http import fetch
from harness.load import Load, Target
from harness.tally import Tally

AUTHORITY = f"{REVIEWS}:9080"
CLIENTS = (
    ClientSpec("isthmus-delta", "isthmus", "DELTA_GRPC"),
    ClientSpec("isthmus-sotw", "isthmus", "GRPC"),
    ClientSpec("envoy-delta", "envoy", "DELTA_GRPC"),
    ClientSpec("envoy-sotw", "envoy", "GRPC"),
)
SAMPLE = 1500


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with Shop(tmp_path_factory.mktemp("shop"), with_zookeeper=False, clients=CLIENTS) as shop:
        shop.wait_until_served()
        change(shop, {"v1": 100, "v2": 0})
        yield shop


def change(shop: Shop, weights: Mapping[str, int]) -> float:
    """Change the split; return the seconds from the command until all clients acknowledged, 0 when nothing changes."""
    if shop.weights == weights:
        return 0.0
    before, started = pushes.newest(shop.control_plane), time.monotonic()
    shop.split(weights)
    pushes.wait_converged(shop.control_plane, before)
    took = time.monotonic() - started
    time.sleep(GRACE_S)  # Envoy acknowledges before its worker has the new routes
    return took


def answered(tally: Tally, requests: int) -> bool:
    """Whether that many requests were answered by some version."""
    return tally.versions.total() >= requests


@contextlib.contextmanager
def load_on(shop: Shop, *names: str, connections: int = 4) -> Iterator[dict[str, Load]]:
    """Load on the sidecars of these clients, for the length of the block."""
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(
                Load(Target(shop.clients[name].address, "/", AUTHORITY, connections=connections), name)
            )
            for name in names
        }


@pytest.mark.parametrize("name", [spec.name for spec in CLIENTS])
def test_a_request_crosses_the_whole_mesh(shop: Shop, name: str) -> None:
    client = shop.clients[name]
    reviews = fetch(client.address, "/reviews/7", headers={"host": AUTHORITY})
    assert (reviews.status, reviews.json()["service"], reviews.json()["path"]) == (200, REVIEWS, "/reviews/7")
    ratings = fetch(client.address, "/", headers={"host": RATINGS})
    assert (ratings.status, ratings.json()["service"]) == (200, RATINGS)


@pytest.mark.parametrize("name", [spec.name for spec in CLIENTS])
def test_bodies_stream_both_ways_through_two_sidecars(shop: Shop, name: str) -> None:
    client = shop.clients[name]
    echo = fetch(client.address, "/echo", method="POST", headers={"host": RATINGS}, body=b"x" * 1_000_000)
    assert echo.json()["body_bytes"] == 1_000_000
    assert len(fetch(client.address, "/bytes/1000000", headers={"host": RATINGS}).body) == 1_000_000
    assert len(fetch(client.address, "/bytes/1000000?chunked", headers={"host": RATINGS}).body) == 1_000_000


def test_unknown_host_is_answered_alike_by_our_proxy_and_envoy(shop: Shop) -> None:
    answers = [fetch(client.address, "/", headers={"host": "unknown.shop"}) for client in shop.clients.values()]
    assert len({(answer.status, answer.body) for answer in answers}) == 1


def test_our_proxy_and_envoy_split_alike_over_three_live_changes(shop: Shop) -> None:
    names = [spec.name for spec in CLIENTS]
    with load_on(shop, *names) as loads:
        for weights in ({"v1": 90, "v2": 10}, {"v1": 50, "v2": 50}, {"v1": 25, "v2": 75}, {"v1": 0, "v2": 100}):
            change(shop, weights)
            tallies = {name: load.phase(str(weights)) for name, load in loads.items()}
            for name, tally in tallies.items():
                eventually(functools.partial(answered, tally, SAMPLE), what=f"{SAMPLE} answers through {name}")
            checks = {name: check_split(weights, tally.versions) for name, tally in tallies.items()}
            assert {name: check.problem for name, check in checks.items() if not check.passed} == {}
        totals = {name: load.stop() for name, load in loads.items()}
    assert {name: list(total.failures) for name, total in totals.items() if total.failed} == {}


def test_split_changes_under_32_connections_fail_no_request(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    change(shop, {"v1": 100, "v2": 0})
    with load_on(shop, "isthmus-delta", connections=32) as loads:
        load = loads["isthmus-delta"]
        times = []
        for weights in ({"v1": 90, "v2": 10}, {"v1": 50, "v2": 50}, {"v1": 0, "v2": 100}):
            times.append(change(shop, weights))
            tally = load.sample(str(weights), SAMPLE)
            assert check_split(weights, tally.versions).problem == ""
        total = load.stop()
    with capsys.disabled():
        shown = ", ".join(f"{1000 * took:.0f} ms" for took in times)
        print(
            f"\n{total.requests} requests over 32 connections, {total.failed} failed; from isthmusctl to the last ACK: {shown}"
        )
    assert total.failed == 0, list(total.failures)[:3]


def test_instances_come_and_go_without_a_failed_request(shop: Shop) -> None:
    change(shop, {"v1": 0, "v2": 100})
    with load_on(shop, "isthmus-delta", "envoy-delta") as loads:
        shop.add_instance("reviews-v2-b", REVIEWS, "v2")
        tallies = [load.phase("two instances") for load in loads.values()]
        eventually(lambda: all(tally.instances["reviews-v2-b"] for tally in tallies), what="the new instance serves")
        before = pushes.newest(shop.control_plane)
        instance = shop.remove_instance("reviews-v2-b")
        pushes.wait_converged(shop.control_plane, before)
        time.sleep(GRACE_S)
        assert instance.sidecar.stop() == 0
        instance.application.stop()
        for load in loads.values():
            tally = load.sample("one instance", 300)
            assert set(tally.instances) == {"reviews-v2"}
        totals = {name: load.stop() for name, load in loads.items()}
    assert {name: list(total.failures) for name, total in totals.items() if total.failed} == {}


def test_control_plane_dies_and_returns_under_load(shop: Shop) -> None:
    change(shop, {"v1": 50, "v2": 50})
    with load_on(shop, "isthmus-delta", "isthmus-sotw", "envoy-delta") as loads:
        shop.control_plane.kill()
        for load in loads.values():
            load.sample("away", SAMPLE)
        shop.control_plane.restart()
        eventually(lambda: shop.connected_clients() == len(CLIENTS), what="all clients are back")
        for load in loads.values():
            load.sample("back", SAMPLE)
        change(shop, {"v1": 0, "v2": 100})
        for load in loads.values():
            assert set(load.sample("changed", 300).versions) == {"v2"}
        totals = {name: load.stop() for name, load in loads.items()}
    assert {name: list(total.failures) for name, total in totals.items() if total.failed} == {}


def test_status_shows_what_each_client_was_sent_and_acknowledged(shop: Shop) -> None:
    def acknowledged() -> bool:
        clients = shop.control_plane.status()["clients"]
        ids = {client["node_id"].split("~")[2] for client in clients}
        assert {f"{spec.name}.default" for spec in CLIENTS} <= ids
        return all(kind["version_sent"] == kind["version_acked"] for client in clients for kind in client["types"])

    eventually(acknowledged)


def test_service_sidecar_drains_on_sigterm(shop: Shop, tmp_path: Path) -> None:
    """A request in progress is finished, and the process then ends by itself."""
    instance = shop.add_instance("ratings-drained", RATINGS, "v1")
    address = f"{instance.registration.address}:{instance.registration.port}"
    with Load(Target(address, "/delay/300", connections=4)) as load:
        load.sample("before", 4)
        shop.remove_instance("ratings-drained")
        instance.sidecar.process.terminate()
        assert instance.sidecar.process.wait() == 0
        total = load.stop()
    # What was in flight got its answer; only new connections were refused.
    reasons = {failure.reason.partition(":")[0] for failure in total.failures}
    assert reasons <= {"connect"}, list(total.failures)
    assert total.statuses[200] >= 4
