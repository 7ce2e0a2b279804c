"""The soak's verdict, and a soak of a few seconds: what it counts must add up however short it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from soak import streams
from soak.__main__ import run
from soak.verdict import GROWTH_MB, Outcome, Sample, objections

STATS = {
    "http.in.downstream_rq_total": 7,
    "access_log.dropped": 0,
    "http.in.downstream_rq_active": 0,
    "http.in.downstream_cx_total": 3,
    "http.in.downstream_cx_destroy": 3,
    "http.in.downstream_cx_active": 0,
    "cluster.c.upstream_cx_total": 5,
    "cluster.c.upstream_cx_destroy": 3,
    "cluster.c.upstream_cx_active": 2,
    "cluster.c.upstream_rq_active": 0,
}
FLAT = [Sample(float(at), 40.0, 30) for at in range(16)]
GOOD = Outcome(FLAT, fds_before=10, fds_after=12, stats=STATS, log_lines=7, failed=[], surprises=[])


def test_a_good_run() -> None:
    assert objections(GOOD) == []
    lost = replace(GOOD, log_lines=5, stats={**STATS, "access_log.dropped": 2})
    assert objections(lost) == []


def rising(rss: float, fds: int) -> list[Sample]:
    return [*FLAT[:12], *(replace(sample, rss_mb=rss, fds=fds) for sample in FLAT[12:])]


@pytest.mark.parametrize(
    ("outcome", "objection"),
    [
        (replace(GOOD, samples=rising(41.0 + GROWTH_MB, 30)), "resident memory grew"),
        (replace(GOOD, samples=rising(40.0, 60)), "descriptors grew"),
        (replace(GOOD, samples=FLAT[:1]), "too short"),
        (replace(GOOD, fds_after=16), "16 file descriptors at rest"),
        (
            replace(GOOD, stats={**STATS, "cluster.c.upstream_rq_active": 1}),
            "cluster.c.upstream_rq_active is 1 at rest",
        ),
        (replace(GOOD, stats={**STATS, "http.in.downstream_cx_destroy": 2}), "downstream_cx_destroy is 1"),
        (replace(GOOD, stats={**STATS, "cluster.c.upstream_cx_total": 6}), "cluster.c.upstream_cx_destroy is 3"),
        (replace(GOOD, log_lines=6), "7 requests, but 6 log lines"),
        (replace(GOOD, failed=["503"]), "steady load: 503"),
        (replace(GOOD, surprises=["x"]), "unexpected: x"),
    ],
)
def test_what_speaks_against_a_run(outcome: Outcome, objection: str) -> None:
    (found,) = objections(outcome)
    assert objection in found


def test_a_short_soak() -> None:
    figures = run(minutes=0.15, rate=200)
    assert figures.requests_of_steady_load
    # Memos are still filling, so that memory says nothing yet.
    assert [each for each in figures.objections if "memory" not in each] == []


def test_held_streams_all_answer_and_end() -> None:
    figures = streams.run(0.1, 200)
    assert figures.messages >= 200
    # So short a run says nothing of growth.
    assert [each for each in figures.objections if "grew" not in each and "too short" not in each] == []
