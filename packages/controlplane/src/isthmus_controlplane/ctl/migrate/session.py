"""Carries a migration out: looks, asks the state machine, writes, waits; until it is at its end, or cannot go on."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

from isthmus_controlplane.ctl.client import ApiError, UnreachableError
from isthmus_controlplane.ctl.migrate.bridge_page import addresses
from isthmus_controlplane.ctl.migrate.figures import Addresses, Figures, figures
from isthmus_controlplane.ctl.migrate.ledger import Ledger
from isthmus_controlplane.ctl.migrate.machine import Cause, Observation, Phase, State, advance
from isthmus_controlplane.ctl.migrate.record import HEARTBEAT_S, Status
from isthmus_controlplane.ctl.migrate.remote import Clock, Mesh, Patience, is_outage
from isthmus_controlplane.ctl.migrate.text import kinds, percent, why

POLL_S = 1.0
SHOW_S = 10.0


class Journal(Protocol):
    """Where it says what it does."""

    def __call__(self, event: str, lines: list[str], **fields: Any) -> None:
        """Something happened: for people, and as values."""
        ...


class Session:
    """One run of a migration."""

    def __init__(
        self, mesh: Mesh, clock: Clock, patience: Patience, ledger: Ledger, state: State, journal: Journal
    ) -> None:
        self._mesh = mesh
        self._clock = clock
        self._patience = patience
        self._ledger = ledger
        self._plan = ledger.record.plan
        self._journal = journal
        self._written: float | None = None
        self._addresses: Addresses | None = None
        self._shown_at = clock.now()
        self._window_s = 0.0
        self.state = state

    def run(self) -> State:
        """Go on until the end.

        Raises:
            TakenOverError: somebody else changed the policy.
            ApiError: a write is refused.
            UnreachableError: the control plane or the bridge is away for too long.
        """
        while not self.state.phase.ended:
            before = self.state
            seen = self._look(before)
            self.state, actions = advance(self._plan, before, seen, self._clock.now())
            if self.state.cause is not before.cause:
                self._say_why(before)
            elif self.state.phase is not before.phase:
                self._say(before)
            for action in actions:
                if action.percent != self._written:
                    self._set(action.percent)
            self._say_progress()
            if not actions and not self.state.phase.ended:
                self._beat()
                self._clock.sleep(min(POLL_S, self._plan.interval_s / 5))
        self._close()
        return self.state

    @property
    def share(self) -> float:
        """The share that was written last, in per cent."""
        return self._ledger.record.percent

    def stop(self, message: str) -> None:
        """Note that the migration stands where it is, for whoever takes it up again."""
        self._save(self.share, "interrupted", message)

    # ---- what it sees ----

    def _look(self, state: State) -> Observation:
        if state.phase in (Phase.SETTLING, Phase.GOING_BACK):
            record = self._ledger.record
            shares = record.shares(record.percent)
            policy, version = self._ledger.policy, self._ledger.version
            drained = state.phase is Phase.GOING_BACK
            late = self._patience(lambda: self._mesh.waiting(policy, version, shares, drained=drained))
            return Observation(written=True, waiting_for=late)
        if state.phase is Phase.WATCHING:
            return Observation(written=True, figures=self._figures(self._clock.now() - state.since))
        return Observation(written=self._written == state.percent)

    def _figures(self, seconds: float) -> Figures | None:
        """What was reported since the step was applied; the latest are enough where that is longer than reports are kept."""
        if not self._window_s:
            self._window_s = float(self._patience(lambda: self._mesh.loads(0))[0]["window_s"])
        within = min(seconds, self._window_s)
        try:
            page = self._mesh.page()
            self._addresses = None if page is None else addresses(page)
        except (UnreachableError, ApiError) as error:
            if not is_outage(error):
                raise
        _, rows = self._patience(lambda: self._mesh.loads(within))
        return figures(rows, self._addresses, self._plan.to)

    # ---- what it does ----

    def _set(self, share: float) -> None:
        self._save(share, "running", self._ledger.record.message)
        self._written = share

    def _beat(self) -> None:
        if self._clock.epoch() - self._ledger.record.heard_at >= HEARTBEAT_S:
            self._save(self._ledger.record.percent, "running", self._ledger.record.message)

    def _close(self) -> None:
        done = self.state.phase is Phase.DONE
        text = "" if done else self._ledger.record.message
        self._save(self.state.percent, "completed" if done else "gone-back", text)

    def _save(self, share: float, status: Status, message: str) -> None:
        record = dataclasses.replace(self._ledger.record, status=status, phase=self.state.phase.value, message=message)
        self._ledger.save(share, record)

    # ---- what it says ----

    def _say(self, before: State) -> None:
        state, plan = self.state, self._plan
        elapsed = round(self._clock.now() - before.since, 1)
        now = percent(state.percent)
        if state.phase is Phase.SETTLING:
            self._journal("step", [f"{now}: written, waiting until everybody has it"], percent=state.percent)
        elif state.phase is Phase.WATCHING:
            lines = [f"{now}: applied everywhere after {elapsed:g} s; watching for {plan.interval_s:g} s"]
            self._journal("applied", lines, percent=state.percent, after_s=elapsed)
        elif before.phase is Phase.WATCHING:
            lines = [f"{percent(before.percent)}: held: {kinds(plan, state.figures)}"]
            self._journal("held", lines, percent=before.percent, **_values(state.figures))
        elif state.phase is Phase.BACK:
            late = f"; not confirmed by all: {state.waited_for}" if state.waited_for else ", confirmed by all"
            self._journal(
                "back", [f"{now}: gone back within {elapsed:g} s{late}"], percent=state.percent, after_s=elapsed
            )

    def _say_why(self, before: State) -> None:
        state = self.state
        elapsed, at = self._clock.now() - before.since, self._clock.epoch()
        lines = why(self._plan, state, at, elapsed)
        record = dataclasses.replace(self._ledger.record, message=f"{state.cause.value}: {lines[0]}")
        self._ledger.record = record
        going = f"going back to {percent(self._plan.start)}"
        fields = {"cause": state.cause.value, "failed_at": state.failed_at, "at": at, "after_s": round(elapsed, 1)}
        if state.cause is Cause.BREACH:
            fields["max_error_rate"] = self._plan.max_error_rate
        self._journal("going-back", [*lines, going], percent=state.percent, **fields, **_values(state.figures))

    def _say_progress(self) -> None:
        if self.state.phase is Phase.WATCHING and self._clock.now() - self._shown_at >= SHOW_S:
            self._shown_at = self._clock.now()
            elapsed = round(self._clock.now() - self.state.since, 1)
            line = f"{percent(self.state.percent)}: {elapsed:g} s: {kinds(self._plan, self.state.figures)}"
            self._journal(
                "watching", [line], percent=self.state.percent, after_s=elapsed, **_values(self.state.figures)
            )


def _values(found: Figures) -> dict[str, Any]:
    return {
        "judged": {**dataclasses.asdict(found.judged), "error_rate": round(found.judged.rate, 6)},
        "beside": {**dataclasses.asdict(found.beside), "error_rate": round(found.beside.rate, 6)},
        "told_apart": found.told_apart,
        "nodes": found.nodes,
        "worst": [{"address": address, "failed": each.failed, "total": each.total} for address, each in found.worst],
    }
