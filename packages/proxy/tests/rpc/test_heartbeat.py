from __future__ import annotations

from isthmus_proxy.rpc.heartbeat import Beat, Heartbeat
from isthmus_proxy.rpc.model import HeartbeatConfig

USUAL = HeartbeatConfig()


def test_an_idle_connection_is_asked_ever_less_often() -> None:
    heartbeat, now, gaps = Heartbeat(USUAL, 0.0), 0.0, []
    for _ in range(5):
        gaps.append(heartbeat.due - now)
        now = heartbeat.due
        assert heartbeat.tick(now, 0.0) is Beat.SEND
        heartbeat.answered(now)
    assert gaps == [15.0, 30.0, 60.0, 90.0, 90.0]


def test_traffic_takes_the_place_of_heartbeats() -> None:
    heartbeat = Heartbeat(USUAL, 0.0)
    assert heartbeat.tick(15.0, 14.0) is Beat.NOTHING
    assert heartbeat.due == 29.0
    assert heartbeat.tick(29.0, 14.0) is Beat.SEND


def test_misses_are_asked_about_at_once_and_end_the_connection() -> None:
    heartbeat = Heartbeat(USUAL, 0.0)
    assert heartbeat.tick(15.0, 0.0) is Beat.SEND
    assert heartbeat.due == 16.0
    assert heartbeat.tick(16.0, 0.0) is Beat.SEND
    assert heartbeat.tick(17.0, 0.0) is Beat.SEND
    assert heartbeat.missed == 2
    assert heartbeat.tick(18.0, 0.0) is Beat.GIVE_UP


def test_an_answer_after_a_miss_begins_with_the_short_interval() -> None:
    heartbeat = Heartbeat(USUAL, 0.0)
    for now in (15.0, 16.0):
        assert heartbeat.tick(now, 0.0) is Beat.SEND
    heartbeat.answered(16.5)
    assert (heartbeat.missed, heartbeat.due) == (0, 31.5)
    heartbeat.answered(17.0)  # one too many changes nothing
    assert heartbeat.due == 31.5


def test_no_interval_means_never() -> None:
    assert Heartbeat(HeartbeatConfig(interval=0.0), 5.0).due == float("inf")
