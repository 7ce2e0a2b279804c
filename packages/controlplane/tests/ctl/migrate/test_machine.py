"""The state machine of migrations: every run ends, never goes past its target, and only falls back after a breach."""

from __future__ import annotations

import dataclasses
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_controlplane.ctl.migrate.figures import Figures, Requests
from isthmus_controlplane.ctl.migrate.machine import (
    Cause,
    Observation,
    Phase,
    SetShare,
    State,
    advance,
    begin,
    go_back,
)
from isthmus_controlplane.ctl.migrate.plan import Plan, shares

PLAN = Plan("mesh", 0.0, 50.0, 30.0, 0.01, min_requests=10, settle_s=60.0, no_data_s=20.0)
GOOD = Figures(Requests(1000, 10))
BAD = Figures(Requests(980, 11), endpoints=(("10.0.0.1:80", Requests(0, 11)),))


def applied(figures: Figures | None = None) -> Observation:
    return Observation(written=True, waiting_for="", figures=figures)


def play(plan: Plan, *looks: tuple[float, Observation]) -> tuple[State, list[float]]:
    """The state after looks at these moments, and the shares that were set."""
    state, written = begin(plan, plan.start, 0.0), []
    for now, seen in looks:
        state, actions = advance(plan, state, seen, now)
        written += [action.percent for action in actions]
    return state, written


def test_a_good_migration_watches_every_step_for_its_interval() -> None:
    looks = [(0.0, Observation()), (1.0, applied()), (2.0, applied()), (31.9, applied(GOOD))]
    state, written = play(PLAN, *looks)
    assert (state.phase, state.percent, written) == (Phase.WATCHING, 50, [50])
    looks += [(32.0, applied(GOOD)), (33.0, applied()), (34.0, applied()), (63.9, applied(GOOD))]
    assert play(PLAN, *looks)[0].phase is Phase.WATCHING
    state, written = play(PLAN, *looks, (64.0, applied(GOOD)))
    assert (state.phase, state.percent, state.cause) == (Phase.DONE, 100, Cause.NONE)
    assert sorted(set(written)) == [50, 100]


def test_a_breach_goes_back_in_one_go_and_keeps_the_figures() -> None:
    plan = dataclasses.replace(PLAN, start=20.0, step=30.0)
    looks = [
        (0.0, applied()),
        (1.0, applied()),
        (32.0, applied(GOOD)),
        (32.0, applied()),
        (33.0, applied()),
        (40.0, applied(BAD)),
    ]
    state, written = play(plan, *looks)
    assert (state.phase, state.percent, state.failed_at, state.cause) == (Phase.RETURNING, 20, 80, Cause.BREACH)
    assert (state.figures, written[-1]) == (BAD, 20)
    looks += [(41.0, applied()), (42.0, applied())]
    late = Observation(written=True, waiting_for="somebody")
    assert play(plan, *looks, (42.9, applied()))[0].phase is Phase.GOING_BACK
    assert play(plan, *looks, (42.9, late), (43.1, applied()))[0].phase is Phase.GOING_BACK, "again somebody has not"
    state, _ = play(plan, *looks, (43.0, applied()))
    assert (state.phase, state.percent) == (Phase.BACK, 20)


def test_the_rate_has_to_be_above_the_limit_and_of_enough_requests() -> None:
    at_limit = Figures(Requests(990, 10))
    few = Figures(Requests(0, 9))
    watching = [(0.0, applied()), (0.0, applied())]
    assert play(PLAN, *watching, (5.0, applied(at_limit)))[0].phase is Phase.WATCHING
    assert play(PLAN, *watching, (5.0, applied(few)))[0].phase is Phase.WATCHING
    assert play(PLAN, *watching, (5.0, applied(Figures(Requests(0, 10)))))[0].cause is Cause.BREACH


def test_without_requests_it_waits_and_then_goes_back_unless_told_otherwise() -> None:
    watching = [(0.0, applied()), (0.0, applied())]
    assert play(PLAN, *watching, (49.9, applied(Figures())))[0].phase is Phase.WATCHING
    assert play(PLAN, *watching, (50.0, applied(Figures())))[0].cause is Cause.NO_DATA
    assert play(PLAN, *watching, (50.0, applied(GOOD)))[0].percent == 100
    allowed = dataclasses.replace(PLAN, allow_no_data=True)
    assert play(allowed, *watching, (30.0, applied(Figures())))[0].percent == 100
    assert play(allowed, *watching, (3.0, applied(BAD)))[0].cause is Cause.BREACH


def test_a_step_that_somebody_does_not_take_goes_back() -> None:
    late = Observation(written=True, waiting_for="sidecar-7")
    state, _ = play(PLAN, (0.0, applied()), (59.9, late))
    assert state.phase is Phase.SETTLING
    state, written = play(PLAN, (0.0, applied()), (60.0, late))
    assert (state.phase, state.cause, state.waited_for, written) == (
        Phase.RETURNING,
        Cause.NOT_APPLIED,
        "sidecar-7",
        [0],
    )
    state, _ = play(PLAN, (0.0, applied()), (60.0, late), (60.0, late), (120.0, late))
    assert (state.phase, state.waited_for) == (Phase.BACK, "sidecar-7"), "it is written, though not confirmed"


def test_figures_that_cannot_be_had_leave_the_last_ones() -> None:
    watching = [(0.0, applied()), (0.0, applied())]
    state, _ = play(PLAN, *watching, (10.0, applied(GOOD)), (30.0, applied(None)))
    assert state.percent == 100


def test_it_is_over_at_once_where_there_is_nothing_to_do() -> None:
    assert begin(PLAN, 100.0, 0.0).phase is Phase.DONE
    down = dataclasses.replace(PLAN, to="sdk", start=100.0)
    assert shares(100.0, down) == [50, 0]
    assert begin(down, 0.0, 0.0).phase is Phase.DONE


def test_giving_up_twice_changes_nothing() -> None:
    once = go_back(PLAN, State(Phase.WATCHING, 50, 0.0), Cause.BREACH, 1.0)
    assert go_back(PLAN, once, Cause.NO_DATA, 2.0) is once


PLANS = st.builds(
    Plan,
    to=st.sampled_from(["mesh", "sdk"]),
    start=st.floats(0, 100).map(lambda x: round(x, 3)),
    step=st.floats(0.1, 100).map(lambda x: round(x, 3)),
    interval_s=st.floats(0.1, 100),
    max_error_rate=st.none() | st.floats(0, 0.99),
    min_requests=st.integers(1, 100),
    settle_s=st.floats(0.1, 100),
    no_data_s=st.floats(0.1, 100),
    allow_no_data=st.booleans(),
)
FIGURES = st.none() | st.builds(lambda good, bad: Figures(Requests(good, bad)), st.integers(0, 200), st.integers(0, 20))
LOOKS = st.builds(
    Observation, written=st.booleans(), waiting_for=st.sampled_from(["", "", "somebody"]), figures=FIGURES
)


@given(PLANS, st.lists(st.tuples(LOOKS, st.floats(0, 20)), max_size=200))
def test_shares_go_one_way_and_after_a_fault_straight_back(plan: Plan, looks: list[tuple[Observation, float]]) -> None:
    up = plan.to == "mesh"
    now, state = 0.0, begin(plan, plan.start, 0.0)
    written: list[float] = []
    for seen, pause in looks:
        now += pause
        before = state
        state, actions = advance(plan, before, seen, now)
        written += [action.percent for action in actions]
        assert min(plan.start, plan.target) <= state.percent <= max(plan.start, plan.target)
        if before.phase.ended:
            assert (state, actions) == (before, [])
        if before.cause:
            assert (state.percent, state.cause) == (plan.start, before.cause)
        elif state.cause:
            assert actions == [SetShare(plan.start)]
        else:
            moved = state.percent - before.percent
            assert 0 <= (moved if up else -moved) <= plan.step + 0.001
            assert not moved or before.phase is Phase.WATCHING, "no step is passed over unwatched"
        judged = seen.figures.judged if seen.figures is not None else None
        if before.phase is Phase.WATCHING and judged is not None and plan.max_error_rate is not None:
            breach = judged.total >= plan.min_requests and judged.rate > plan.max_error_rate
            assert not breach or state.cause is Cause.BREACH
    if state.phase is Phase.DONE:
        assert state.percent == plan.target
    forward = [share for share in written if not state.cause or share != plan.start]
    assert forward == sorted(forward, reverse=not up)


@given(PLANS, st.data())
def test_every_migration_ends_whatever_is_seen(plan: Plan, data: st.DataObject) -> None:
    plan = dataclasses.replace(plan, step=max(plan.step, 10.0))
    bound = max(plan.interval_s, plan.settle_s) + plan.no_data_s
    now, state = 0.0, begin(plan, plan.start, 0.0)
    seen: Literal[True] = True
    for _ in range(8 * (plan.steps + 2)):
        if state.phase.ended:
            break
        look = dataclasses.replace(data.draw(LOOKS), written=seen)
        state, _ = advance(plan, state, look, now)
        now += bound
    assert state.phase.ended
    assert state.percent == (plan.target if state.phase is Phase.DONE else plan.start)


@pytest.mark.parametrize(
    ("start", "step", "expected"),
    [(0.0, 30.0, [30, 60, 90, 100]), (95.0, 10.0, [100]), (0.0, 33.3, [33.3, 66.6, 99.9, 100])],
)
def test_the_last_step_ends_at_the_target(start: float, step: float, expected: list[float]) -> None:
    plan = dataclasses.replace(PLAN, start=start, step=step)
    assert shares(start, plan) == expected
    assert plan.steps == len(expected)
