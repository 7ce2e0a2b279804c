"""Endpoints about the process itself: readiness, listeners, version, log levels, and orders to drain or quit."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from isthmus_proxy.admin.lifecycle import DrainOrder, Lifecycle, ServerState
from isthmus_proxy.admin.response import JSON, AdminRequest, AdminResponse, Endpoint, text
from isthmus_proxy.listener.model import Address, PipeAddress
from isthmus_proxy.logs import LEVELS

_LOGGER_USAGE = (
    "usage: /logging?<name>=<level> (change single level)\n"
    "usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n"
    "usage: /logging?level=<level> (change all levels)\n"
    f"levels: {' '.join(LEVELS)}\n"
)


_DRAIN_PARAMETERS = (
    ("graceful", "End connections during the drain time before listeners are closed"),
    ("skip_exit", "End connections, but never close listeners"),
    ("inboundonly", "Only listeners whose traffic_direction is INBOUND"),
)


class ListenerRow(Protocol):
    """A listener as ``/listeners`` shows it (``listener.listener_manager.ListenerRow``)."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def address(self) -> Address:
        """Where it listens."""

    @property
    def additional_addresses(self) -> tuple[Address, ...]:
        """Where it listens, too."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What ``/server_info`` tells. ``options`` are command line options; ``uptime`` gives seconds."""

    version: str
    options: dict[str, object]
    node: dict[str, object]
    uptime: Callable[[], float]


def endpoints(
    lifecycle: Lifecycle, facts: ServerFacts, listeners: Callable[[], Iterable[ListenerRow]], reopen: Callable[[], None]
) -> tuple[Endpoint, ...]:
    """The endpoints."""

    def ready(_request: AdminRequest) -> AdminResponse:
        state = lifecycle.state
        note = lifecycle.note()
        return text(f"{state.name}\n{note}\n" if note else f"{state.name}\n", 200 if state is ServerState.LIVE else 503)

    def show_listeners(request: AdminRequest) -> AdminResponse:
        rows = list(listeners())
        if request.query.get("format") == "json":
            return AdminResponse(
                200, (json.dumps({"listener_statuses": [_status(row) for row in rows]}, indent=1),), JSON
            )
        return text("".join(map(_lines, rows)))

    def server_info(_request: AdminRequest) -> AdminResponse:
        return AdminResponse(200, (json.dumps(_info(lifecycle, facts), indent=1),), JSON)

    def order(action: Callable[[], None]) -> Callable[[AdminRequest], AdminResponse]:
        def respond(_request: AdminRequest) -> AdminResponse:
            action()
            return text("OK\n")

        return respond

    def drain(request: AdminRequest) -> AdminResponse:
        lifecycle.request_drain(
            DrainOrder(
                "graceful" in request.query, "skip_exit" in request.query, inbound_only="inboundonly" in request.query
            )
        )
        return text("OK\n")

    format_parameter = (("format", "File format to use; One of (text, json)"),)
    return (
        Endpoint("/ready", "print server state, return 200 if LIVE, otherwise return 503", ready),
        Endpoint("/listeners", "print listener info", show_listeners, parameters=format_parameter),
        Endpoint("/server_info", "print server version/status information", server_info),
        Endpoint("/drain_listeners", "drain listeners", drain, mutates=True, parameters=_DRAIN_PARAMETERS),
        Endpoint("/quitquitquit", "exit the server", order(lifecycle.request_quit), mutates=True),
        Endpoint("/reopen_logs", "reopen access logs", order(reopen), mutates=True),
        Endpoint(
            "/healthcheck/fail",
            "cause the server to fail health checks",
            order(lambda: lifecycle.fail_health(failed=True)),
            mutates=True,
        ),
        Endpoint(
            "/healthcheck/ok",
            "cause the server to pass health checks",
            order(lambda: lifecycle.fail_health(failed=False)),
            mutates=True,
        ),
        Endpoint("/logging", "query/change logging levels", change_levels, mutates=True),
    )


def _lines(row: ListenerRow) -> str:
    return "".join(f"{row.name}::{address}\n" for address in (row.address, *row.additional_addresses))


def _status(row: ListenerRow) -> dict[str, object]:
    status: dict[str, object] = {"name": row.name, "local_address": _address(row.address)}
    if row.additional_addresses:
        status["additional_local_addresses"] = [_address(address) for address in row.additional_addresses]
    return status


def _address(address: Address) -> dict[str, object]:
    if isinstance(address, PipeAddress):
        return {"pipe": {"path": address.path}}
    return {"socket_address": {"address": address.host, "port_value": address.port}}


def _info(lifecycle: Lifecycle, facts: ServerFacts) -> dict[str, object]:
    uptime = f"{int(facts.uptime())}s"
    return {
        "version": facts.version,
        "state": lifecycle.state.name,
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": uptime,
        "hot_restart_version": "disabled",
        "command_line_options": facts.options,
        "node": facts.node,
    }


def change_levels(request: AdminRequest) -> AdminResponse:
    """``/logging``: show the loggers' levels, after changing those that the query names."""
    changes: list[tuple[str, str]] = []
    for name, value in request.query.items():
        if name == "level":
            changes += [(logger, value) for logger in loggers()]
        elif name == "paths":
            changes += [(pair.partition(":")[0], pair.partition(":")[2]) for pair in value.split(",")]
        else:
            changes.append((name, value))
    known = loggers()
    for logger, level in changes:
        if level not in LEVELS or logger not in known:
            problem = "unknown logger level" if level not in LEVELS else "unknown logger name"
            return text(f"error: {problem}\n\n{_LOGGER_USAGE}{_levels()}", 400)
    for logger, level in changes:
        logging.getLogger(logger).setLevel(LEVELS[level])
    return text(_levels())


def loggers() -> list[str]:
    """Names of the proxy's loggers."""
    names = (name for name in logging.root.manager.loggerDict if name.split(".")[0] == "isthmus_proxy")
    return sorted(names)


def _levels() -> str:
    lines = []
    for name in loggers():
        level = logging.getLogger(name).getEffectiveLevel()
        shown = next((text for text, value in LEVELS.items() if value >= level and text != "trace"), "off")
        lines.append(f"  {name}: {shown}\n")
    return "active loggers:\n" + "".join(lines) + "\n"
