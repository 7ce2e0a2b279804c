"""The command ``isthmusctl migrate``: options in, exit status out."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import socket
import sys
import threading
import time
import uuid
from typing import Any

from isthmus_controlplane.ctl.client import ApiError, Client, UnreachableError
from isthmus_controlplane.ctl.migrate.bridge_page import shown_by_mesh
from isthmus_controlplane.ctl.migrate.ledger import Ledger, TakenOverError
from isthmus_controlplane.ctl.migrate.machine import Cause, Phase, State, begin, go_back
from isthmus_controlplane.ctl.migrate.plan import Plan, parse_conditions, parse_seconds, parse_step, shares
from isthmus_controlplane.ctl.migrate.policy import SIDES, Document, find_policy, new_policy, share_of
from isthmus_controlplane.ctl.migrate.record import Record, read_record
from isthmus_controlplane.ctl.migrate.remote import Clock, Mesh, Patience, RemoteMesh
from isthmus_controlplane.ctl.migrate.session import Session
from isthmus_controlplane.ctl.migrate.text import percent, status_table
from isthmus_controlplane.ctl.status import problem_text
from isthmus_controlplane.errors import ConfigError, ControlPlaneError

EXIT_REFUSED, EXIT_WENT_BACK, EXIT_STOPPED = 1, 3, 4
DEFAULT_CONDITION, DEFAULT_STEP, DEFAULT_INTERVAL, DEFAULT_MIN_REQUESTS = "error-rate>1%", "10", "30s", 20
MIN_NO_DATA_S = 10.0  # reports of a busy proxy may be late
STATUS = "status"
EPILOG = (
    f"exit status: 0 done, {EXIT_REFUSED} refused, 2 usage, {EXIT_WENT_BACK} gone back after a breach of --abort-on, "
    f"{EXIT_STOPPED} gone back for another reason, stopped on the way, or unreachable"
)


class RefusedError(ControlPlaneError):
    """The migration is not begun."""


class SystemClock:
    """The machine's time."""

    def now(self) -> float:
        """See Clock."""
        return time.monotonic()

    def epoch(self) -> float:
        """See Clock."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """See Clock."""
        time.sleep(seconds)


class Printer:
    """Says what happens: lines, or one JSON object an event."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def __call__(self, event: str, lines: list[str], **fields: Any) -> None:
        """See Journal."""
        if self._as_json:
            print(json.dumps({"event": event, "message": "\n".join(lines), **fields}), flush=True)
        else:
            print("\n".join(lines), flush=True)


def add_options(command: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    command.add_argument(
        "service", metavar="SERVICE|status", help="the full host of the service; status shows migrations"
    )
    command.add_argument("shown", nargs="?", default="", metavar="SERVICE", help="with status: only this service")
    command.add_argument("--to", choices=["mesh", "sdk"], help="by which addresses instances are to be shown")
    command.add_argument("--step", metavar="PERCENT", help=f"how much at a time ({DEFAULT_STEP}%%)")
    command.add_argument("--interval", metavar="TIME", help=f"how long a step is watched ({DEFAULT_INTERVAL})")
    command.add_argument(
        "--abort-on",
        action="append",
        metavar="CONDITION",
        help=f"go back when it holds ({DEFAULT_CONDITION}); repeatable",
    )
    command.add_argument("--min-requests", type=int, metavar="N", help=f"to judge by ({DEFAULT_MIN_REQUESTS})")
    command.add_argument("--allow-no-data", action="store_true", help="go on without requests to judge by")
    command.add_argument(
        "--consumers", choices=[*SIDES, "both"], default="both", help="whose view is walked (%(default)s)"
    )
    command.add_argument("--policy", default="", metavar="NAME", help="the DualMode, where the service has several")
    command.add_argument("-n", "--namespace", default="default")
    command.add_argument(
        "--bridge", default="", metavar="URL", help="admin endpoint of a bridge: tells addresses apart"
    )
    command.add_argument(
        "--loads",
        action="append",
        default=[],
        metavar="URL",
        help="another control plane whose load reports count; repeatable",
    )
    command.add_argument(
        "--settle", default="60s", metavar="TIME", help="how long a step may take to apply (%(default)s)"
    )
    command.add_argument("--patience", default="2m", metavar="TIME", help="how long an outage may last (%(default)s)")
    command.add_argument(
        "--resume", action="store_true", help="take up a migration that stands on the way; new options of steps count"
    )
    command.add_argument("--undo", action="store_true", help="go back to where the last migration began")
    command.add_argument("--dry-run", action="store_true", help="say what would be done")
    command.add_argument("--json", action="store_true", help="one JSON object an event")


def run(client: Client, options: argparse.Namespace) -> int:
    """Run the command; returns its exit status.

    Raises:
        ConfigError: an option cannot be used.
        UnreachableError: the control plane does not answer (``status`` only).
        ApiError: it refuses (``status`` only).
    """
    if options.service == STATUS:
        return _status(client, options)
    if options.shown:
        raise ConfigError(f"{options.shown}: only `migrate status` takes a second name")
    bridge = _client(options.bridge, "bridge", "--bridge") if options.bridge else None
    others = [_client(each, "control plane", "--loads") for each in options.loads]
    mesh = RemoteMesh(options.service, client, others, bridge)
    return Migration(mesh, SystemClock(), Printer(as_json=options.json), options).run()


def _client(url: str, what: str, option: str) -> Client:
    try:
        return Client(url, what, option)
    except UnreachableError as error:
        raise ConfigError(str(error)) from error


class Migration:
    """The command, once its outside world is given."""

    def __init__(self, mesh: Mesh, clock: Clock, journal: Printer, options: argparse.Namespace) -> None:
        self._mesh = mesh
        self._clock = clock
        self._journal = journal
        self._options = options
        self._patience = Patience(
            parse_seconds(options.patience, "--patience"), clock, lambda text: journal("unreachable", [text])
        )
        self._sides = SIDES if options.consumers == "both" else (options.consumers,)

    def run(self) -> int:
        """Returns the exit status. Raises ConfigError for options that cannot be used."""
        try:
            session = self._begin()
        except (RefusedError, TakenOverError, ApiError, UnreachableError) as error:
            self._failed("refused", error)
            return EXIT_STOPPED if isinstance(error, UnreachableError) else EXIT_REFUSED
        if session is None:
            return 0
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            return self._outcome(session.run())
        except KeyboardInterrupt:
            return self._stopped(session, "interrupted", None)
        except (TakenOverError, ApiError, UnreachableError) as error:
            return self._stopped(session, "stopped", error)

    def _begin(self) -> Session | None:
        """The session, or None where there is nothing to do."""
        documents = self._patience(self._mesh.policies)
        options = self._options
        held = find_policy(documents, options.service, options.namespace, options.policy)
        last = read_record(held) if held is not None else None
        if last is not None and last.is_alive(self._clock.epoch()):
            raise RefusedError(
                f"{last.owner} runs a migration of {options.service} to {last.plan.to}, now at {percent(last.percent)}; "
                "see `migrate status`"
            )
        if options.resume or options.undo:
            if options.to is not None or (options.resume and options.undo):
                raise ConfigError("--to, --resume, --undo: say one of them")
            return self._again(held, last)
        return self._fresh(held, last)

    def _again(self, held: Document | None, last: Record | None) -> Session | None:
        if held is None or last is None:
            raise RefusedError(f"{self._options.service} has no migration to take up")
        if self._options.resume and last.status not in ("running", "interrupted"):
            raise RefusedError(f"the migration of {self._options.service} has ended: {last.status}; nothing to resume")
        now = self._clock.now()
        state = State(Phase.APPLYING, last.percent, now)
        plan = last.plan
        if self._options.undo or last.phase in (Phase.RETURNING, Phase.GOING_BACK):
            state = go_back(plan, state, Cause.ASKED, now)
        else:
            plan = self._renewed(plan)
        what = "going back" if state.phase is Phase.RETURNING else "resumed"
        if self._options.dry_run:
            line = f"would be {what}: {self._options.service}, from {percent(last.percent)} to {percent(state.percent)}"
            self._journal("dry-run", [line], percent=last.percent, plan=dataclasses.asdict(plan))
            return None
        record = dataclasses.replace(last, id=uuid.uuid4().hex, owner=_owner(), status="running", plan=plan)
        return self._session(held, record, state, what)

    def _fresh(self, held: Document | None, last: Record | None) -> Session | None:
        options = self._options
        if options.to is None:
            raise ConfigError("--to: say mesh or sdk, or --resume, or --undo")
        if last is not None and last.status in ("running", "interrupted"):
            raise RefusedError(
                f"an earlier migration to {last.plan.to} stands at {percent(last.percent)}: --resume goes on, --undo goes back"
            )
        document = held if held is not None else self._new()
        starts = {side: share_of(document, side) for side in self._sides}
        start = min(starts.values()) if options.to == "mesh" else max(starts.values())
        plan = self._plan(start)
        if start == plan.target:
            self._journal("done", [f"{options.service} is at {percent(start)} already"], percent=start)
            return None
        if options.dry_run:
            self._tell(plan, starts, document)
            return None
        now = self._clock.epoch()
        identity = uuid.uuid4().hex
        record = Record(identity, "running", plan, tuple(self._sides), starts, start, "applying", _owner(), now, now)
        return self._session(document, record, begin(plan, start, self._clock.now()), "begun")

    def _session(self, document: Document, record: Record, state: State, what: str) -> Session:
        ledger = Ledger(self._mesh, self._clock, self._patience, document, record)
        ledger.claim(record.percent)
        plan = record.plan
        line = (
            f"{what}: {self._options.service} to {plan.to}, from {percent(record.percent)} to {percent(state.percent)}"
            f" and on to {percent(plan.target)}, {percent(plan.step)} every {plan.interval_s:g} s, policy {ledger.policy}"
        )
        if state.phase is Phase.RETURNING:
            line = f"{what}: {self._options.service}, from {percent(record.percent)} to {percent(plan.start)}, policy {ledger.policy}"
        self._journal("begun", [line], percent=record.percent, policy=ledger.policy, plan=dataclasses.asdict(plan))
        return Session(self._mesh, self._clock, self._patience, ledger, state, self._journal)

    def _new(self) -> Document:
        """A policy for a service without one, which says what holds without it."""
        start = 0.0 if self._options.to == "mesh" else 100.0
        page = self._patience(self._mesh.page)
        if page is not None:
            for side in self._sides:
                mesh, total = shown_by_mesh(page, side)
                if mesh != round(total * start / 100):
                    raise RefusedError(
                        f"{self._options.service} has no DualMode, and {mesh} of {total} instances are shown to {side} "
                        "consumers by their mesh address: apply a DualMode that says where to begin"
                    )
        return new_policy(self._options.service, self._options.namespace, start)

    def _plan(self, start: float) -> Plan:
        """The plan of a new migration, or of one that is taken up again: options that are given count."""
        options = self._options
        interval = parse_seconds(options.interval or DEFAULT_INTERVAL, "--interval")
        max_rate = parse_conditions(options.abort_on or [DEFAULT_CONDITION])
        least = DEFAULT_MIN_REQUESTS if options.min_requests is None else options.min_requests
        if least < 1:
            raise ConfigError(f"--min-requests {least}: must be at least 1")
        settings, _ = self._patience(lambda: self._mesh.loads(0))
        if interval > settings["window_s"]:
            raise ConfigError(
                f"--interval {options.interval}: the control plane keeps {settings['window_s']:g} s of reports"
            )
        if not settings["reporters"] and not options.allow_no_data:
            raise RefusedError(
                "no proxy reports loads to this control plane, so nothing can be watched: set "
                "cluster_manager.load_stats_config in their bootstrap files, or say --allow-no-data"
            )
        return Plan(
            options.to, start, parse_step(options.step or DEFAULT_STEP), interval, max_rate, least,
            parse_seconds(options.settle, "--settle"), max(interval, 3 * settings["interval_s"], MIN_NO_DATA_S), options.allow_no_data,
        )  # fmt: skip

    def _renewed(self, plan: Plan) -> Plan:
        """The plan of a migration that is taken up again, with the options of steps that are given now."""
        options, new = self._options, self._plan(plan.start)
        return dataclasses.replace(
            plan,
            step=new.step if options.step else plan.step,
            interval_s=new.interval_s if options.interval else plan.interval_s,
            no_data_s=new.no_data_s if options.interval else plan.no_data_s,
            max_error_rate=new.max_error_rate if options.abort_on else plan.max_error_rate,
            min_requests=new.min_requests if options.min_requests is not None else plan.min_requests,
            allow_no_data=new.allow_no_data or plan.allow_no_data,
        )

    def _tell(self, plan: Plan, starts: dict[str, float], document: Document) -> None:
        steps = shares(plan.start, plan)
        problems = self._patience(lambda: self._mesh.check(document))
        whose = ", ".join(f"{side} consumers from {percent(start)}" for side, start in starts.items())
        lines = [
            f"would walk {self._options.service} to {plan.to}: {whose}",
            f"steps: {', '.join(map(percent, steps))}; each watched for {plan.interval_s:g} s",
            f"would go back above an error rate of {100 * (plan.max_error_rate or 0.0):g} % of at least {plan.min_requests} requests",
            *(f"would be refused: {problem_text(each)}" for each in problems),
        ]
        self._journal("dry-run", lines, steps=steps, plan=dataclasses.asdict(plan), problems=problems)

    def _outcome(self, state: State) -> int:
        if state.phase is Phase.DONE:
            self._journal(
                "done", [f"done: {self._options.service} is at {percent(state.percent)}"], percent=state.percent
            )
            return 0
        if state.cause is Cause.ASKED:
            return 0
        return EXIT_WENT_BACK if state.cause is Cause.BREACH else EXIT_STOPPED

    def _stopped(self, session: Session, what: str, error: ControlPlaneError | None) -> int:
        why = "" if error is None else f": {error}"
        if isinstance(error, TakenOverError):
            self._journal(what, [f"{what}{why}; it is left as it is"], percent=session.share)
            return EXIT_STOPPED
        at = percent(session.share)
        try:
            if not isinstance(error, UnreachableError):
                session.stop(f"{what} at {at}{why}")
        except (KeyboardInterrupt, ControlPlaneError) as second:
            why += f" (and it cannot be noted down: {second})"
        line = f"{what} at {at}{why}; it stays there: --resume goes on, --undo goes back"
        self._journal(what, [line], percent=session.share)
        return EXIT_STOPPED

    def _failed(self, event: str, error: ControlPlaneError) -> None:
        problems = error.problems if isinstance(error, ApiError) else []
        lines = [f"isthmusctl: {error}", *(f"  {problem_text(each)}" for each in problems)]
        print("\n".join(lines), file=sys.stderr)
        if self._options.json:
            self._journal(event, lines)


def _status(client: Client, options: argparse.Namespace) -> int:
    found: list[tuple[str, str, Record]] = []
    for item in client.get("/v1/objects", kind="DualMode")["items"]:
        try:
            record = read_record(item["object"])
        except ConfigError as error:
            print(f"isthmusctl: {error}", file=sys.stderr)
            continue
        host = str(item["object"]["spec"].get("host", ""))
        if record is not None and options.shown in ("", host):
            found.append((host, f"{item['namespace']}/{item['name']}", record))
    now = time.time()
    if options.json:
        rows = [
            {"service": host, "policy": policy, "alive": record.is_alive(now), **dataclasses.asdict(record)}
            for host, policy, record in found
        ]
        print(json.dumps(rows, indent=2))
    elif found:
        print(status_table(found, now), end="")
    else:
        print("There are no migrations.")
    return 0 if found or not options.shown else EXIT_REFUSED


def _owner() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
