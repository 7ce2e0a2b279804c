"""A push is over when everyone it reached has answered or left."""

from __future__ import annotations

import pytest

from isthmus_controlplane.xds.metrics import CONVERGENCE_BUCKETS, XdsMetrics, type_label
from isthmus_controlplane.xds.push import RECENT_PUSHES, PushLog, PushStatus
from isthmus_controlplane.xds.watch import Progress


class Clocked:
    """A push log with a clock that the test moves."""

    def __init__(self) -> None:
        self.time = 100.0
        self.converged: list[PushStatus] = []
        self.log = PushLog(now=lambda: self.time, wall_clock=lambda: 5.0, on_converged=self.converged.append)


@pytest.fixture
def clocked() -> Clocked:
    return Clocked()


def acknowledged(_: int) -> Progress:
    return Progress.ACKNOWLEDGED


def rejected(_: int) -> Progress:
    return Progress.REJECTED


def pending(_: int) -> Progress:
    return Progress.PENDING


def test_time_runs_until_the_last_client_acknowledged(clocked: Clocked) -> None:
    clocked.log.start("weights", [1, 2, 3])
    for client in (1, 2):
        clocked.log.note_sent(client)
    clocked.log.note_progress(3, acknowledged)
    clocked.log.note_progress(1, acknowledged)
    clocked.log.note_progress(2, pending)
    assert clocked.converged == []
    clocked.time = 101.5
    clocked.log.note_progress(2, acknowledged)
    assert clocked.converged == [PushStatus(1, "weights", 5.0, 3, 2, 2, 0, 0, 1.5)]
    assert clocked.converged[0].accepted
    assert clocked.log.recent() == tuple(clocked.converged)


def test_rejection_ends_the_wait_but_is_no_acceptance(clocked: Clocked) -> None:
    clocked.log.start("broken", [1])
    clocked.log.note_sent(1)
    clocked.log.note_progress(1, rejected)
    (push,) = clocked.converged
    assert (push.rejected, push.acknowledged, push.accepted) == (1, 0, False)


def test_client_that_leaves_is_not_waited_for(clocked: Clocked) -> None:
    clocked.log.start("x", [1, 2])
    clocked.log.note_sent(1)
    clocked.log.note_gone(1)
    clocked.log.note_gone(2)
    (push,) = clocked.converged
    assert (push.touched, push.gone, push.acknowledged) == (1, 1, 0)


def test_acknowledgement_of_a_newer_push_counts_for_the_older(clocked: Clocked) -> None:
    clocked.log.start("one", [1])
    clocked.log.start("two", [1])
    clocked.log.note_sent(1)
    clocked.log.note_progress(1, acknowledged)
    assert [push.cause for push in clocked.converged] == ["one", "two"]


def test_only_the_latest_pushes_are_kept(clocked: Clocked) -> None:
    for number in range(RECENT_PUSHES + 1):
        clocked.log.start(str(number), [1])
    assert len(clocked.log.recent()) == RECENT_PUSHES
    assert clocked.log.recent()[0].id == 2
    assert clocked.log.total == RECENT_PUSHES + 1


def push_after(seconds: float | None, *, touched: int = 1, rejected_by: int = 0) -> PushStatus:
    return PushStatus(1, "x", 0.0, 1, touched, touched - rejected_by, rejected_by, 0, seconds)


@pytest.mark.parametrize("bound", CONVERGENCE_BUCKETS)
def test_convergence_falls_into_the_bucket_of_its_upper_bound(bound: float) -> None:
    metrics = XdsMetrics()
    metrics.observe_push(push_after(bound))
    lines = metrics.text({}).splitlines()
    position = CONVERGENCE_BUCKETS.index(bound)
    below = CONVERGENCE_BUCKETS[:position]
    assert all(f'isthmus_xds_convergence_seconds_bucket{{le="{b}"}} 0' in lines for b in below)
    assert f'isthmus_xds_convergence_seconds_bucket{{le="{bound}"}} 1' in lines
    assert "isthmus_xds_convergence_seconds_count 1" in lines


def test_push_that_reached_nobody_tells_no_time() -> None:
    metrics = XdsMetrics()
    metrics.observe_push(push_after(0.1, touched=0))
    metrics.observe_push(push_after(None))
    assert "isthmus_xds_convergence_seconds_count 0" in metrics.text({}).splitlines()


def test_rejected_pushes_are_counted() -> None:
    metrics = XdsMetrics()
    metrics.observe_push(push_after(0.1, rejected_by=1))
    assert metrics.total("pushes_rejected") == 1


def test_type_urls_of_clients_do_not_become_labels() -> None:
    assert type_label('x"} 1\nevil') == "other"


def test_gauges_and_counters_are_written() -> None:
    metrics = XdsMetrics()
    metrics.count("nacks", "type", "CDS")
    lines = metrics.text({"clients": ("Open streams.", 3)}).splitlines()
    assert 'isthmus_xds_nacks_total{type="CDS"} 1' in lines
    assert "isthmus_xds_clients 3" in lines
