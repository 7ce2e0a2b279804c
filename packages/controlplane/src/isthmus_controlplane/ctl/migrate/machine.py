"""How a migration goes on: (plan, state, observation, now) -> (state, actions). Pure: no clock, no I/O.

Each step is applied, waited for until everybody has it, and watched for an interval. A breach, or no numbers to judge by, goes
back to the beginning in one go. Times are seconds of any clock that does not go back.

    APPLYING -> SETTLING -> WATCHING -> APPLYING ...            -> DONE
        any of these ------------------> RETURNING -> GOING_BACK -> BACK
"""

from __future__ import annotations

import dataclasses
import enum

from isthmus_controlplane.ctl.migrate.figures import Figures
from isthmus_controlplane.ctl.migrate.plan import Plan

CONFIRM_S = 1.0
"""How long nobody has to be waited for before a way back is over: what the bridge shows takes a moment to be with the clients."""


class Phase(enum.StrEnum):
    """Where a migration stands; the last two are ends."""

    APPLYING = "applying"
    SETTLING = "settling"
    WATCHING = "watching"
    RETURNING = "returning"
    GOING_BACK = "going-back"
    DONE = "done"
    BACK = "back"

    @property
    def ended(self) -> bool:
        """Whether nothing follows."""
        return self in (Phase.DONE, Phase.BACK)


class Cause(enum.StrEnum):
    """Why a migration goes back."""

    NONE = ""
    BREACH = "breach"
    NO_DATA = "no-data"
    NOT_APPLIED = "not-applied"
    ASKED = "asked"


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """Where a migration is.

    Attributes:
        phase: what it does.
        percent: the share that is asked for now.
        since: when the phase began.
        cause: why it goes back, if it does.
        failed_at: the share at which that was decided.
        figures: what was seen then, or last.
        waited_for: who had not applied the latest step.
        confirmed_at: since when nobody is waited for on the way back.
    """

    phase: Phase
    percent: float
    since: float
    cause: Cause = Cause.NONE
    failed_at: float | None = None
    figures: Figures = dataclasses.field(default_factory=Figures)
    waited_for: str = ""
    confirmed_at: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Observation:
    """What is seen at one moment.

    Attributes:
        written: the policy has the share that was asked for.
        waiting_for: who has not applied it; empty once everybody has.
        figures: requests since the watching began; None when they cannot be had now.
    """

    written: bool = False
    waiting_for: str = "?"
    figures: Figures | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class SetShare:
    """Action: write this share into the policy."""

    percent: float


def begin(plan: Plan, percent: float, now: float) -> State:
    """The state of a migration that starts, or is taken up again, at ``percent``."""
    if percent == plan.target:
        return State(Phase.DONE, percent, now)
    return State(Phase.APPLYING, plan.after(percent), now)


def go_back(plan: Plan, state: State, cause: Cause, now: float, figures: Figures | None = None) -> State:
    """Give up: back to the beginning in one go."""
    if state.phase in (Phase.RETURNING, Phase.GOING_BACK) or state.phase.ended:
        return state
    seen = figures if figures is not None else state.figures
    return State(Phase.RETURNING, plan.start, now, cause, state.percent, seen, state.waited_for)


def advance(plan: Plan, state: State, seen: Observation, now: float) -> tuple[State, list[SetShare]]:
    """One look: the state after it, and what is to be done. Call it again and again until the phase is an end."""
    state = _next(plan, state, seen, now)
    if state.phase in (Phase.APPLYING, Phase.RETURNING):
        return state, [SetShare(state.percent)]
    return state, []


def _next(plan: Plan, state: State, seen: Observation, now: float) -> State:
    elapsed = now - state.since
    if state.phase in (Phase.APPLYING, Phase.RETURNING):
        if not seen.written:
            return state
        phase = Phase.SETTLING if state.phase is Phase.APPLYING else Phase.GOING_BACK
        return dataclasses.replace(state, phase=phase, since=now)
    if state.phase is Phase.SETTLING:
        return _settle(plan, dataclasses.replace(state, waited_for=seen.waiting_for), elapsed, now)
    if state.phase is Phase.GOING_BACK:
        return _arrive(plan, dataclasses.replace(state, waited_for=seen.waiting_for), elapsed, now)
    if state.phase is Phase.WATCHING:
        return _watch(plan, state, seen.figures, elapsed, now)
    return state


def _settle(plan: Plan, state: State, elapsed: float, now: float) -> State:
    if not state.waited_for:
        return dataclasses.replace(state, phase=Phase.WATCHING, since=now, figures=Figures())
    if elapsed >= plan.settle_s:
        return go_back(plan, state, Cause.NOT_APPLIED, now)
    return state


def _arrive(plan: Plan, state: State, elapsed: float, now: float) -> State:
    since = None if state.waited_for else now if state.confirmed_at is None else state.confirmed_at
    confirmed = since is not None and now - since >= CONFIRM_S
    if confirmed or elapsed >= plan.settle_s:
        return dataclasses.replace(state, phase=Phase.BACK, since=now, confirmed_at=since)
    return dataclasses.replace(state, confirmed_at=since)


def _watch(plan: Plan, state: State, figures: Figures | None, elapsed: float, now: float) -> State:
    if figures is not None:
        state = dataclasses.replace(state, figures=figures)
    judged = state.figures.judged
    enough = judged.total >= max(plan.min_requests, 1)
    if plan.max_error_rate is not None and enough and judged.rate > plan.max_error_rate:
        return go_back(plan, state, Cause.BREACH, now)
    if elapsed < plan.interval_s:
        return state
    unwatched = plan.max_error_rate is None or plan.allow_no_data
    if not enough and not unwatched:
        late = elapsed >= plan.interval_s + plan.no_data_s
        return go_back(plan, state, Cause.NO_DATA, now) if late else state
    if state.percent == plan.target:
        return dataclasses.replace(state, phase=Phase.DONE, since=now)
    return State(Phase.APPLYING, plan.after(state.percent), now, figures=state.figures)
