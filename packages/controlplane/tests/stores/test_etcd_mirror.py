"""The pure mirror of an etcd prefix: lists, events, broken values, and every order in which they may come."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_controlplane.errors import ConfigError
from isthmus_controlplane.stores.etcd.address import DEFAULT_PREFIX, parse_address
from isthmus_controlplane.stores.etcd.mirror import KeyValue, Mirror

SOURCE = "etcd://127.0.0.1:2379"
NAMES = ("a", "b", "c")


def key(name: str) -> str:
    return f"{DEFAULT_PREFIX}ServiceEntry/default/{name}"


def value(name: str, host: str) -> bytes:
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    spec = {"hosts": [host], "ports": ports, "resolution": "STATIC", "endpoints": [{"address": "127.0.0.1"}]}
    metadata = {"name": name, "namespace": "default"}
    document = {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": metadata, "spec": spec}
    return json.dumps(document).encode()


def hosts(mirror: Mirror) -> dict[str, str]:
    return {each.name: obj.spec.hosts[0] for each, obj in mirror.state().objects.items()}  # type: ignore[attr-defined]


def synced() -> Mirror:
    mirror = Mirror(SOURCE, DEFAULT_PREFIX)
    mirror.take_list([KeyValue(key("a"), value("a", "a.shop"), 5)], 7)
    return mirror


def test_is_not_synced_before_the_first_list() -> None:
    assert not Mirror(SOURCE, DEFAULT_PREFIX).state().synced
    assert synced().state().synced


def test_follows_puts_and_deletes() -> None:
    mirror = synced()
    mirror.take_events([KeyValue(key("b"), value("b", "b.shop"), 8), KeyValue(key("a"), None, 8)], 8)
    assert hosts(mirror) == {"b": "b.shop"}
    assert mirror.revision == 8


def test_an_object_that_did_not_change_stays_the_same_object() -> None:
    mirror = synced()
    (before,) = mirror.state().objects.values()
    mirror.take_events([KeyValue(key("a"), value("a", "a.shop"), 9)], 9)
    (after,) = mirror.state().objects.values()
    assert after is before
    assert mirror.revision_of(after.key) == 9


def test_old_events_change_nothing() -> None:
    mirror = synced()
    mirror.take_events([KeyValue(key("a"), None, 4), KeyValue(key("a"), value("a", "old.shop"), 5)], 7)
    assert hosts(mirror) == {"a": "a.shop"}


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"{", ""),
        (b"\xff\xfe", ""),
        (b"", ""),
        (b"a: 1\n---\nb: 2\n", ""),
        (b"[" * 60_000 + b"]" * 60_000, ""),
        (value("a", "a.shop").replace(b'"hosts"', b'"hostz"'), "spec.hostz"),
        (value("other", "a.shop"), "metadata"),
    ],
)
def test_a_value_that_cannot_be_used_keeps_the_last_good_one(raw: bytes, path: str) -> None:
    mirror = synced()
    mirror.take_events([KeyValue(key("a"), raw, 8)], 8)
    assert hosts(mirror) == {"a": "a.shop"}
    (problem,) = mirror.state().problems
    assert problem.path == path
    assert key("a") in problem.origin
    mirror.take_events([KeyValue(key("a"), value("a", "mended.shop"), 9)], 9)
    assert hosts(mirror) == {"a": "mended.shop"}
    assert not mirror.state().problems


def test_a_broken_value_that_is_deleted_is_no_problem_any_more() -> None:
    mirror = synced()
    mirror.take_events([KeyValue(key("a"), b"{", 8)], 8)
    mirror.take_events([KeyValue(key("a"), None, 9)], 9)
    assert not mirror.state().problems
    assert not mirror.state().objects


def test_a_list_counts_what_the_watch_missed() -> None:
    mirror = synced()
    assert mirror.drifts == 0
    mirror.take_list([KeyValue(key("b"), value("b", "b.shop"), 8)], 9)
    assert hosts(mirror) == {"b": "b.shop"}
    assert mirror.drifts == 2


def test_a_lost_connection_is_a_problem_and_nothing_else() -> None:
    mirror = synced()
    mirror.disconnected("UNAVAILABLE")
    assert hosts(mirror) == {"a": "a.shop"}
    assert "UNAVAILABLE" in mirror.state().problems[0].message
    mirror.connected()
    assert not mirror.state().problems


history = st.lists(st.tuples(st.sampled_from(NAMES), st.one_of(st.none(), st.integers(0, 3))), max_size=20)


@given(history, st.integers(0, 20), st.integers(0, 20))
def test_lists_and_events_that_overlap_end_where_etcd_is(
    writes: list[tuple[str, int | None]], listed_at: int, repeated_from: int
) -> None:
    """A list at any revision, then every event from any earlier revision on: the mirror equals the store."""
    events = [
        KeyValue(key(name), None if number is None else value(name, f"h{number}.shop"), revision)
        for revision, (name, number) in enumerate(writes, 1)
    ]

    def at(revision: int) -> dict[str, KeyValue]:
        state: dict[str, KeyValue] = {}
        for event in events[:revision]:
            if event.value is None:
                state.pop(event.key, None)
            else:
                state[event.key] = event
        return state

    listed_at = min(listed_at, len(events))
    mirror = Mirror(SOURCE, DEFAULT_PREFIX)
    mirror.take_list(at(listed_at).values(), listed_at)
    # a watch continues at the revision after the list; repeats of what the list already holds must do no harm
    for event in events[listed_at:]:
        mirror.take_events([event], event.revision)
    for event in events[min(repeated_from, len(events)) :]:
        if event.revision <= mirror.revision and at(len(events)).get(event.key) == event:
            mirror.take_events([event], event.revision)
    expected = {
        item.key.rpartition("/")[2]: json.loads(item.value or b"")["spec"]["hosts"][0]
        for item in at(len(events)).values()
    }
    assert hosts(mirror) == expected


@pytest.mark.parametrize(
    ("url", "targets", "prefix"),
    [
        ("etcd://h:2379", ("h:2379",), DEFAULT_PREFIX),
        ("etcd://a:1,b:2/mesh/one/", ("a:1", "b:2"), "/mesh/one/"),
        ("etcd://[::1]:2379/", ("[::1]:2379",), DEFAULT_PREFIX),
    ],
)
def test_addresses(url: str, targets: tuple[str, ...], prefix: str) -> None:
    address = parse_address(url)
    assert (address.targets, address.prefix) == (targets, prefix)


@pytest.mark.parametrize(
    "url", ["etcd://", "etcd://h", "http://h:1", "etcd://h:0", "etcd://h:1,", "etcd://h:99999", "etcd:// h:1"]
)
def test_bad_addresses_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="is not an etcd address"):
        parse_address(url)
