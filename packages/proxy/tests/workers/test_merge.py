"""What the parent makes of its workers' answers: frames, sums, waits."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.observe.histogram import Histogram
from isthmus_proxy.observe.stats import StatsStore
from isthmus_proxy.observe.stats_text import render_text
from isthmus_proxy.workers.back_off import LONGEST_S, STEADY_S, BackOff
from isthmus_proxy.workers.cluster_merge import merge_json, merge_text
from isthmus_proxy.workers.frames import MAX_BYTES, FrameError, FrameReader, frame
from isthmus_proxy.workers.stats_merge import dump, merge

MESSAGES: list[dict[str, object]] = [{"id": 1, "op": "stats"}, {"id": 0}, {"id": 2, "body": "ä" * 100}]


@given(st.lists(st.integers(1, 160), max_size=6, unique=True).map(sorted))
def test_frames_in_any_pieces(cuts: list[int]) -> None:
    data = b"".join(frame(message) for message in MESSAGES)
    reader = FrameReader()
    pieces = [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert [message for piece in pieces for message in reader.receive(piece)] == MESSAGES


@pytest.mark.parametrize("data", [(MAX_BYTES + 1).to_bytes(4), b"\0\0\0\1x", b"\0\0\0\2[]", b"\0\0\0\2{}"])
def test_what_is_no_frame(data: bytes) -> None:
    with pytest.raises(FrameError):
        list(FrameReader().receive(data))


def worker(requests: int, times: list[float]) -> StatsStore:
    store = StatsStore()
    cluster = store.scope("cluster.a.b", {"envoy_cluster_name": "a.b"})
    cluster.counter("upstream_rq_total").value = requests
    cluster.gauge("upstream_cx_active").value = 1
    cluster.gauge("membership_total").value = 3
    store.scope("cluster_manager.cds").text("version_text").value = "v1"
    for each in times:
        cluster.histogram("upstream_rq_time").record(each)
    return store


def test_stats_add_up() -> None:
    stores = [worker(2, [1.0, 7000.0]), worker(3, [1.0]), worker(0, [])]
    merged = merge(json.loads(json.dumps([dump(store) for store in stores])))
    assert merged.value("cluster.a.b.upstream_rq_total") == 5
    assert merged.value("cluster.a.b.upstream_cx_active") == 3
    assert merged.value("cluster.a.b.membership_total") == 3
    assert 'cluster_manager.cds.version_text: "v1"\n' in list(render_text(merged))
    histogram = merged.scope("cluster.a.b").histogram("upstream_rq_time")
    assert (histogram.count, histogram.total) == (3, 7002.0)
    assert merged.scope("cluster.a.b").extracted() == ("cluster", (("envoy_cluster_name", "a.b"),))


@pytest.mark.parametrize("stream", ["control_plane", "cluster_manager.cds.control_plane", "control_plane.eds.xds"])
def test_states_of_streams_do_not_add_up(stream: str) -> None:
    stores = [StatsStore(), StatsStore()]
    for store in stores:
        store.scope(stream).gauge("connected_state").value = 1
    assert merge([dump(store) for store in stores]).value(f"{stream}.connected_state") == 1


@given(st.lists(st.lists(st.floats(0, 1e7), max_size=20), max_size=4))
def test_a_merged_histogram_is_that_of_all_values(shares: list[list[float]]) -> None:
    together = Histogram("all")
    merged = merge([dump(worker(0, share)) for share in shares])
    for value in (value for share in shares for value in share):
        together.record(value)
    found = merged.scope("cluster.a.b").histogram("upstream_rq_time")
    assert found.quantiles() == together.quantiles()
    assert found.total == pytest.approx(together.total)


def test_clusters_add_up() -> None:
    first = "c::added_via_api::false\nc::1.1.1.1:1::cx_total::2\nc::1.1.1.1:1::weight::5\n"
    other = "c::added_via_api::false\nc::1.1.1.1:1::cx_total::3\nc::1.1.1.1:1::weight::5\nd::added_via_api::true\n"
    assert merge_text([first]) == first
    expected = "c::added_via_api::false\nc::1.1.1.1:1::cx_total::5\nc::1.1.1.1:1::weight::5\nd::added_via_api::true\n"
    assert merge_text([first, other]) == expected


def test_clusters_add_up_as_json() -> None:
    def body(*hosts: tuple[int, str | None]) -> str:
        statuses = [
            {"address": port, "stats": [{"name": "cx_total", **({"value": value} if value else {})}]}
            for port, value in hosts
        ]
        return json.dumps({"cluster_statuses": [{"name": "c", "host_statuses": statuses}]})

    merged = json.loads(merge_json([body((1, "2"), (2, None)), body((2, None), (1, "5"), (3, "1"))]))
    (cluster,) = merged["cluster_statuses"]
    assert cluster["host_statuses"] == [
        {"address": 1, "stats": [{"name": "cx_total", "value": "7"}]},
        {"address": 2, "stats": [{"name": "cx_total"}]},
        {"address": 3, "stats": [{"name": "cx_total", "value": "1"}]},
    ]


def test_the_wait_doubles_to_a_limit_and_a_steady_worker_begins_anew() -> None:
    back_off = BackOff()
    waits = [back_off.ended(1.0) for _ in range(9)]
    assert waits[:4] == [0.5, 1.0, 2.0, 4.0]
    assert waits[-1] == LONGEST_S
    assert back_off.ended(STEADY_S) == 0.5
