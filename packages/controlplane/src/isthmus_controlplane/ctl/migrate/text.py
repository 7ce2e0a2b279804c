"""What a migration says, for people. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from isthmus_controlplane.ctl.migrate.figures import Figures, Requests
from isthmus_controlplane.ctl.migrate.machine import Cause, State
from isthmus_controlplane.ctl.migrate.plan import Plan
from isthmus_controlplane.ctl.migrate.record import Record
from isthmus_controlplane.ctl.table import table


def percent(share: float) -> str:
    """A share in per cent."""
    return f"{share:g} %"


def rate(requests: Requests) -> str:
    """How many of how many failed."""
    return f"{requests.failed} of {requests.total} failed ({100 * requests.rate:.3g} %)"


def kinds(plan: Plan, figures: Figures) -> str:
    """The figures in one line, those that are judged first."""
    if not figures.told_apart:
        return f"all addresses: {rate(figures.judged)}"
    other = {"mesh": "native", "native": "mesh"}
    judged = "mesh" if plan.to == "mesh" else "native"
    return f"{judged} addresses: {rate(figures.judged)}; {other[judged]} addresses: {rate(figures.beside)}"


def why(plan: Plan, state: State, at: float, elapsed: float) -> list[str]:
    """Why a migration goes back: when, at which step, by which numbers, through which endpoints."""
    failed_at = state.failed_at if state.failed_at is not None else state.percent
    when = f"{moment(at)}, at {percent(failed_at)}"
    if state.cause is Cause.ASKED:
        return [f"{when}: asked to go back to {percent(plan.start)}"]
    if state.cause is Cause.NOT_APPLIED:
        return [f"{when}: not applied within {plan.settle_s:g} s: waiting for {state.waited_for}"]
    figures = state.figures
    if state.cause is Cause.NO_DATA:
        needed = (
            f"{when}: {figures.judged.total} requests within {elapsed:.1f} s, and {plan.min_requests} are needed to judge by "
            f"({figures.nodes} proxies report); is there traffic, and do its proxies have load_stats_config? "
            "--allow-no-data goes on without"
        )
        return [needed, f"  {kinds(plan, figures)}"]
    allowed = 100 * (plan.max_error_rate or 0.0)
    lines = [f"{when}, {elapsed:.1f} s after it was applied: error rate above {allowed:g} %: {kinds(plan, figures)}"]
    return lines + [f"  {address}: {rate(requests)}" for address, requests in figures.worst]


def moment(epoch: float) -> str:
    """A time of the day with its zone."""
    return dt.datetime.fromtimestamp(epoch, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def status_table(records: Iterable[tuple[str, str, Record]], now: float) -> str:
    """Migrations: (service, policy, record) each."""
    rows = [
        (
            host,
            policy,
            record.plan.to,
            _status(record, now),
            percent(record.percent),
            record.phase,
            record.owner,
            moment(record.heard_at),
            record.message or "-",
        )
        for host, policy, record in records
    ]
    return table(("SERVICE", "POLICY", "TO", "STATUS", "SHARE", "PHASE", "OWNER", "HEARD", "MESSAGE"), rows)


def _status(record: Record, now: float) -> str:
    if record.status == "running" and not record.is_alive(now):
        return f"lost ({now - record.heard_at:.0f} s silent; --resume or --undo)"
    return record.status
