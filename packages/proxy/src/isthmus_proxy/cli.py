"""The command line: ``isthmus-proxy run``, ``upgrade``, ``validate`` and ``iptables``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from isthmus_proxy import __version__
from isthmus_proxy.compiled import build_kind
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.interception.options import add_arguments as add_iptables_arguments

if TYPE_CHECKING:
    from isthmus_proxy.app import Options
    from isthmus_proxy.config.bootstrap import Bootstrap


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse ``arguments`` (those of the process by default) and act; the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return _COMMANDS[options.command](options)
    except ConfigError as error:
        print(f"isthmus-proxy: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="isthmus-proxy", description="Sidecar and gateway proxy that takes Envoy v3 configuration and speaks xDS."
    )
    parser.add_argument("--version", action="version", version=f"isthmus-proxy {__version__} ({build_kind()})")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="serve a bootstrap file until SIGTERM (drains) or SIGINT (at once)")
    upgrade = commands.add_parser(
        "upgrade",
        help="like run, in the place of the process that serves at --handover-path, which ends without losing a request",
    )
    validate = commands.add_parser("validate", help="check a bootstrap file and exit: 0 if it can be served, else 1")
    add_iptables_arguments(commands.add_parser("iptables", help="lead an application's TCP traffic through the proxy"))
    for command in (run, upgrade, validate):
        command.add_argument(
            "-c",
            "--config-path",
            required=True,
            type=Path,
            metavar="FILE",
            help="Envoy v3 bootstrap file, YAML or JSON",
        )
        command.add_argument("--log-level", default="info", choices=_LEVELS, help="least level to log (default: info)")
        command.add_argument("--log-format", default="text", choices=("text", "json"), help="form of log lines")
    for command in (run, upgrade):
        _add_run_arguments(command)
    return parser


def _add_run_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--concurrency",
        type=_workers,
        default=1,
        metavar="N",
        help="worker processes behind the same ports (default: 1)",
    )
    command.add_argument(
        "--drain-time-s",
        type=_seconds,
        default=30.0,
        metavar="S",
        help="how long SIGTERM waits for requests, and how long a graceful drain of listeners takes (default: 30)",
    )
    command.add_argument(
        "--drain-strategy",
        default="gradual",
        choices=("gradual", "immediate"),
        help="whether a graceful drain ends connections evenly over its time or from its beginning (default: gradual)",
    )
    command.add_argument(
        "--admin-address-path",
        type=Path,
        metavar="FILE",
        help="write the admin server's HOST:PORT here once it listens",
    )
    command.add_argument(
        "--xds-cache-path",
        type=Path,
        metavar="FILE",
        help="keep the last good configuration of the control plane here, and start from it when none answers",
    )
    command.add_argument(
        "--busy-poll-ms",
        type=_milliseconds,
        default=0.0,
        metavar="MS",
        help="after an event, ask for the next one for so long without sleeping: costs a core, saves latency (default: 0)",
    )
    command.add_argument(
        "--allow-remote-admin", action="store_true", help="let the admin server listen on other than loopback addresses"
    )
    command.add_argument(
        "--handover-path",
        type=Path,
        metavar="SOCKET",
        help="succeed the process that serves at this Unix socket, if one does, and be succeeded there by the next",
    )


_MOST_WORKERS = 256
_MOST_BUSY_MS = 10_000
_LEVELS = ("trace", "debug", "info", "warning", "error", "critical", "off")


def _workers(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:5]) <= _MOST_WORKERS):
        message = f"{text} is not a number of workers from 1 to {_MOST_WORKERS}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86400:
        message = f"{text} is not a number of seconds from 0 to 86400"
        raise argparse.ArgumentTypeError(message)
    return seconds


def _milliseconds(text: str) -> float:
    """In seconds."""
    try:
        milliseconds = float(text)
    except ValueError:
        milliseconds = -1.0
    if not 0 <= milliseconds <= _MOST_BUSY_MS:
        message = f"{text} is not a number of milliseconds from 0 to {_MOST_BUSY_MS}"
        raise argparse.ArgumentTypeError(message)
    return milliseconds / 1000


def _validate(options: argparse.Namespace) -> int:
    from isthmus_proxy.config.bootstrap import load  # noqa: PLC0415 - so that --help is quick

    load(options.config_path)
    print(f"configuration '{options.config_path}' OK")
    return 0


def _run(options: argparse.Namespace) -> int:
    from isthmus_proxy import lean_imports  # noqa: PLC0415 - so that --help is quick

    lean_imports.prepare()
    from isthmus_proxy import app, logs  # noqa: PLC0415 - as above
    from isthmus_proxy.config.bootstrap import load  # noqa: PLC0415 - as above

    logs.configure(options.log_level, options.log_format)
    settings = app.Options(
        options.drain_time_s,
        options.admin_address_path,
        options.allow_remote_admin,
        xds_cache_path=options.xds_cache_path,
        busy_poll=options.busy_poll_ms,
        drain_at_once=options.drain_strategy == "immediate",
        handover_path=options.handover_path,
        must_succeed=options.command == "upgrade",
    )
    _check_handover(options)
    bootstrap = load(options.config_path)
    if options.concurrency > 1:
        return _run_workers(bootstrap, settings, options.concurrency)
    return _serve(bootstrap, settings)


def _check_handover(options: argparse.Namespace) -> None:
    if options.command == "upgrade" and options.handover_path is None:
        raise ConfigError("--handover-path", "", "upgrade needs the socket of the process that it succeeds")
    if options.handover_path is not None and options.concurrency > 1:
        reason = "sockets of several workers cannot be handed over; use --concurrency 1, or leave --handover-path out"
        raise ConfigError("--concurrency", str(options.concurrency), reason)


def _iptables(options: argparse.Namespace) -> int:
    from isthmus_proxy.interception.command import ToolError, run  # noqa: PLC0415 - its tools are of no use to a proxy

    try:
        return run(options)
    except ToolError as error:
        print(f"isthmus-proxy: {error}", file=sys.stderr)
        return 1


_COMMANDS = {"run": _run, "upgrade": _run, "validate": _validate, "iptables": _iptables}


def _serve(bootstrap: Bootstrap, settings: Options) -> int:
    """Serve in this process. Raises ConfigError."""
    import trio  # noqa: PLC0415 - as above

    from isthmus_proxy import serving  # noqa: PLC0415 - as above

    status, failure = 1, None
    try:
        status = trio.run(serving.serve, bootstrap, settings, restrict_keyboard_interrupt_to_checkpoints=True)
    except* ConfigError as group:
        failure = _first(group)
    if failure is not None:
        failure.origin = failure.origin or bootstrap.origin
        raise failure
    return status


def _run_workers(bootstrap: Bootstrap, settings: Options, count: int) -> int:
    from isthmus_proxy.workers.supervisor import Supervisor  # noqa: PLC0415 - one process alone needs none

    def worker(bootstrap: Bootstrap, settings: Options) -> int:
        try:
            return _serve(bootstrap, settings)
        except ConfigError as error:
            print(f"isthmus-proxy: {error}", file=sys.stderr)
            return 1

    return Supervisor(bootstrap, settings, count, worker).run()


def _first(group: BaseExceptionGroup[ConfigError]) -> ConfigError:
    """One of the errors: the others are of the same kind, and one message is what can be read."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, ConfigError):
        raise TypeError(type(error))
    return error
