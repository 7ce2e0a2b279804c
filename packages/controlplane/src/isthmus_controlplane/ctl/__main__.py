"""Command line of ``isthmusctl``."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from isthmus_controlplane import __version__
from isthmus_controlplane.config import DEFAULT_ADMIN
from isthmus_controlplane.ctl.client import ApiError, Client, UnreachableError
from isthmus_controlplane.ctl.difference import differences
from isthmus_controlplane.ctl.explanation import explanation_text, is_acknowledged
from isthmus_controlplane.ctl.migrate import cli as migrate
from isthmus_controlplane.ctl.status import cause_text, is_healthy, problem_text, status_text
from isthmus_controlplane.ctl.table import table
from isthmus_controlplane.errors import ConfigError, ControlPlaneError
from isthmus_controlplane.log_format import configure_logging

EXIT_REFUSED, EXIT_USAGE, EXIT_UNREACHABLE = 1, 2, 3
_EPILOG = (
    f"exit status: 0 done, {EXIT_REFUSED} refused or not healthy, {EXIT_USAGE} usage, {EXIT_UNREACHABLE} unreachable"
)
_SUFFIXES = (".yaml", ".yml", ".json")
log = logging.getLogger(__name__)


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    result = argparse.ArgumentParser(
        "isthmusctl", description="Reads and changes the configuration of a control plane.", epilog=_EPILOG
    )
    result.add_argument("--version", action="version", version=f"isthmusctl {__version__}")
    server = os.environ.get("ISTHMUS_SERVER", f"http://{DEFAULT_ADMIN}")
    result.add_argument(
        "--server", default=server, metavar="URL", help="admin endpoints (ISTHMUS_SERVER, else %(default)s)"
    )
    result.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default="warning")
    result.add_argument("--log-format", choices=["text", "json"], default="text")
    commands = result.add_subparsers(dest="command", required=True, metavar="COMMAND")
    apply = commands.add_parser("apply", help="create or change objects, all or none")
    apply.add_argument(
        "-f",
        "--filename",
        required=True,
        action="append",
        metavar="FILE|DIR",
        help="YAML; - reads standard input; repeatable",
    )
    get = commands.add_parser("get", help="show objects")
    get.add_argument("kind", nargs="?", default="", help="such as VirtualService")
    get.add_argument("name", nargs="?", default="")
    get.add_argument("-n", "--namespace", default="", help="all namespaces when not given")
    get.add_argument("-o", "--output", choices=["table", "yaml", "json"], default="table")
    delete = commands.add_parser("delete", help="delete an object")
    delete.add_argument("kind")
    delete.add_argument("name")
    delete.add_argument("-n", "--namespace", default="default")
    analyze = commands.add_parser(
        "analyze", help="say what an apply would be refused for or warn about, and change nothing"
    )
    diff = commands.add_parser("diff", help="show what an apply would change; ends with 1 when something")
    for each in (analyze, diff):
        each.add_argument("-f", "--filename", required=True, action="append", metavar="FILE|DIR")
    wait = commands.add_parser("wait", help="wait until every client acknowledged everything that was applied")
    wait.add_argument("--applied", action="store_true", required=True, help="what to wait for")
    wait.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="how long (%(default)s)")
    migrate.add_options(
        commands.add_parser(
            "migrate",
            help="walk a service between SDK and mesh addresses, and back by itself when errors show",
            epilog=migrate.EPILOG,
        )
    )
    status = commands.add_parser("status", help="show clients, versions and problems")
    status.add_argument("-o", "--output", choices=["table", "json"], default="table")
    status.add_argument("--check", action="store_true", help="end with 1 when a client rejects or there are problems")
    explain = commands.add_parser(
        "explain", help="show what a request of a client meets, who wrote it, and whether the client has it; 1 when not"
    )
    explain.add_argument("client", metavar="CLIENT", help="node id, or a part of it that no other has")
    explain.add_argument("host", metavar="HOST[:PORT]", help="authority of the request; the port names the listener")
    explain.add_argument("path", metavar="PATH", nargs="?", default="/", help="with query (%(default)s)")
    explain.add_argument("--method", default="GET")
    explain.add_argument("--header", action="append", default=[], metavar="NAME=VALUE")
    explain.add_argument("-o", "--output", choices=["text", "json"], default="text")
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end with its exit status."""
    options = parser().parse_args(arguments)
    configure_logging(options.log_level, options.log_format)
    sys.exit(run(options))


def run(options: argparse.Namespace) -> int:
    """Run one command; returns its exit status."""
    commands = {
        "apply": _apply,
        "get": _get,
        "delete": _delete,
        "analyze": _analyze,
        "diff": _diff,
        "wait": _wait,
        "migrate": migrate.run,
        "status": _status,
        "explain": _explain,
    }
    try:
        return commands[options.command](Client(options.server), options)
    except UnreachableError as error:
        print(f"isthmusctl: {error}", file=sys.stderr)
        # Of a migration that status says that it has gone back.
        return migrate.EXIT_STOPPED if options.command == "migrate" else EXIT_UNREACHABLE
    except ApiError as error:
        print(f"isthmusctl: {error}", file=sys.stderr)
        for problem in error.problems:
            print(f"  {problem_text(problem)}", file=sys.stderr)
        return EXIT_REFUSED
    except ControlPlaneError as error:
        print(f"isthmusctl: {error}", file=sys.stderr)
        return EXIT_USAGE


def _all_texts(options: argparse.Namespace) -> dict[str, str]:
    return {name: text for each in options.filename for name, text in _texts(each)}


def _analyze(client: Client, options: argparse.Namespace) -> int:
    answer = client.analyze(_all_texts(options))
    for problem in answer["problems"]:
        print(problem_text(problem))
    for warning in answer["warnings"]:
        print(f"warning: {problem_text(warning)}")
    return EXIT_REFUSED if answer["problems"] else 0


def _diff(client: Client, options: argparse.Namespace) -> int:
    held = [item["object"] for item in client.get("/v1/objects")["items"]]
    lines = list(differences(held, _all_texts(options)))
    print("".join(lines), end="")
    return EXIT_REFUSED if lines else 0


def _wait(client: Client, options: argparse.Namespace) -> int:
    answer = client.wait(options.timeout)
    for each in answer["rejections"]:
        made = f" (made from {', '.join(map(cause_text, each['causes']))})" if each["causes"] else ""
        print(f"{each['client']} rejects {each['type']}{made}: {each['message']}", file=sys.stderr)
    if answer["waiting_for"]:
        print(f"waiting for {', '.join(answer['waiting_for'])}", file=sys.stderr)
    elif not answer["published"]:
        print("not published yet", file=sys.stderr)
    return 0 if answer["applied"] else EXIT_REFUSED


def _apply(client: Client, options: argparse.Namespace) -> int:
    answer = client.apply(_all_texts(options))
    for each in answer["applied"]:
        print(f"{each['kind']} {each['namespace']}/{each['name']} {each['result']} ({each['version']})")
    for warning in answer["warnings"]:
        print(f"warning: {problem_text(warning)}", file=sys.stderr)
    return 0


def _texts(name: str) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of a file, of each YAML file in a directory, or of standard input."""
    if name == "-":
        yield "standard input", sys.stdin.read()
        return
    path = Path(name)
    files = sorted(each for each in path.rglob("*") if each.suffix in _SUFFIXES) if path.is_dir() else [path]
    if not files:
        raise ConfigError(f"-f {name}: there is no YAML file in this directory")
    for file in files:
        try:
            yield str(file), file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"-f {file}: cannot be read: {error}") from error


def _get(client: Client, options: argparse.Namespace) -> int:
    items = client.get("/v1/objects", kind=options.kind, name=options.name, namespace=options.namespace)["items"]
    if options.name and not items:
        print(f"isthmusctl: there is no {options.kind} {options.name}", file=sys.stderr)
        return EXIT_REFUSED
    _print_objects(items, options.output)
    return 0


def _print_objects(items: list[Any], output: str) -> None:
    if output == "json":
        print(json.dumps([item["object"] for item in items], indent=2))
    elif output == "yaml":
        print(yaml.safe_dump_all([item["object"] for item in items], sort_keys=False), end="")
    elif not items:
        print("There are no objects.")
    else:
        columns = ("kind", "namespace", "name", "version", "state", "origin")
        rows = [[item[column] for column in columns] for item in items]
        print(table([column.upper() for column in columns], rows), end="")


def _delete(client: Client, options: argparse.Namespace) -> int:
    key = client.delete(options.kind, options.namespace, options.name)["deleted"]
    print(f"{key['kind']} {key['namespace']}/{key['name']} deleted")
    return 0


def _explain(client: Client, options: argparse.Namespace) -> int:
    answer = client.explain(options.client, options.host, options.path, options.method, options.header)
    print(json.dumps(answer, indent=2) + "\n" if options.output == "json" else explanation_text(answer), end="")
    return 0 if is_acknowledged(answer) else EXIT_REFUSED


def _status(client: Client, options: argparse.Namespace) -> int:
    status = client.get("/status")
    print(json.dumps(status, indent=2) if options.output == "json" else status_text(status), end="")
    return EXIT_REFUSED if options.check and not is_healthy(status) else 0


if __name__ == "__main__":
    main()
