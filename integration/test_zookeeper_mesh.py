"""Services that register in real ZooKeeper are reached through the mesh, and stay reached while it is away."""

from collections.abc import Iterator

import pytest

from demo.shop import RATINGS, REVIEWS, ClientSpec, Shop
from harness.eventually import eventually
from harness.http import fetch
from harness.load import Load, Target


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with Shop(tmp_path_factory.mktemp("shop"), with_zookeeper=True, clients=[ClientSpec("client", "isthmus")]) as shop:
        shop.wait_until_served()
        yield shop


def instances_seen(shop: Shop, host: str) -> set[str]:
    """Who answers a handful of requests."""
    client = shop.clients["client"]
    answers = [fetch(client.address, "/", headers={"host": host}) for _ in range(8)]
    return {answer.header("x-instance") or "" for answer in answers}


def test_a_service_of_two_registries_is_one_service(shop: Shop) -> None:
    """The file holds v1 of reviews and its port, ZooKeeper holds v2; together they are shop.reviews:9080."""
    eventually(lambda: instances_seen(shop, f"{REVIEWS}:9080") == {"reviews-v1", "reviews-v2"})


def test_a_provider_that_registers_is_reached_and_one_that_leaves_is_not(shop: Shop) -> None:
    shop.add_instance("ratings-b", RATINGS, "v1")
    eventually(lambda: instances_seen(shop, RATINGS) == {"ratings-v1", "ratings-b"})
    instance = shop.remove_instance("ratings-b")
    eventually(lambda: instances_seen(shop, RATINGS) == {"ratings-v1"})
    instance.terminate()


def test_nothing_is_lost_while_zookeeper_is_away(shop: Shop) -> None:
    """What was served stays served, and changes arrive afterwards."""
    assert shop.zookeeper is not None
    with Load(Target(shop.clients["client"].address, "/", RATINGS, connections=4, rate=200)) as load:
        shop.zookeeper.kill()
        load.sample("away", 300)
        shop.zookeeper.start()
        load.sample("back", 300)
        shop.add_instance("ratings-c", RATINGS, "v1")
        tally = load.phase("changed")
        eventually(lambda: tally.instances["ratings-c"] > 0, within=40)
        total = load.stop()
    assert total.failed == 0, list(total.failures)[:3]
