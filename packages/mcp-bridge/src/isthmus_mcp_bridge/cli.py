"""The command line: ``run``, ``validate``, and questions to a running bridge: ``explain``, ``sources``, ``diff``."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isthmus_mcp_bridge import __version__, app, query, shadow
from isthmus_mcp_bridge.config.load import load_config
from isthmus_mcp_bridge.convert.decoded import decoded
from isthmus_mcp_bridge.errors import BridgeError
from isthmus_mcp_bridge.observe.log_format import FORMATS, LEVELS, configure_logging

PROGRAM = "isthmus-mcp-bridge"


QUESTIONS = ("explain", "sources", "diff")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program. Returns its exit status: 0, or 1 after one line on standard error that says what to mend."""
    options = _parser().parse_args(arguments)
    configure_logging(options.log_level, options.log_format)
    try:
        if options.command in QUESTIONS:
            print(_answer(options))
            return 0
        config = load_config(options.config)
        if options.command == "run":
            asyncio.run(app.run(config, options.address_path))
        else:
            names = ", ".join(registry.name for registry in config.registries)
            print(f"{options.config}: valid; registries in order of precedence: {names}")
    except BridgeError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 1
    return 0


def _answer(options: argparse.Namespace) -> str:
    """The answer to a question, as text or JSON. Raises BridgeError."""
    admin = query.Admin(options.admin)
    text: str
    if options.command == "explain":
        answer = admin.get("/explain", host=options.host)
        text = query.explanation_text(answer)
    elif options.command == "sources":
        answer = admin.get("/sources")
        text = query.sources_text(answer)
    else:
        answer = _shadow(options, admin) if options.shadow else admin.get("/diff")["changes"]
        text = query.diff_text(answer)
    return json.dumps(answer, indent=2) if options.output == "json" else text


def _shadow(options: argparse.Namespace, admin: query.Admin) -> list[Mapping[str, Any]]:
    """What would change if the running bridge had the configuration of ``--config``. Raises BridgeError."""
    if options.config is None:
        raise BridgeError("diff --shadow needs the configuration to try: -c FILE")
    config = load_config(options.config)
    served = admin.get("/collection")["services"]
    if served is None:
        raise BridgeError("the running bridge still waits for its registries; ask again when /ready says LIVE")
    catalog = app.build_catalog(config, time.time() - time.monotonic())
    made, missing = asyncio.run(shadow.merge_once(config, catalog))
    if missing:
        raise BridgeError(f"not listed within sync_deadline_s: {', '.join(missing)}; nothing is compared")
    return query.compare_collections(
        served,
        {name: one.version for name, one in made.resources.items()},
        lambda name: admin.get("/entry", name=name),
        lambda name: decoded(made.resources[name]),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description="Read legacy service registries, merge their entries and serve them over MCP."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run the bridge until SIGTERM or SIGINT")
    validate = commands.add_parser("validate", help="check the configuration and exit")
    explain = commands.add_parser("explain", help="say why a service is published as it is")
    explain.add_argument("host", metavar="HOST", help="the service's host, or NAMESPACE/HOST")
    sources = commands.add_parser("sources", help="list the registries and how far each is believed")
    diff = commands.add_parser("diff", help="say how what is published differs from what the registries say now")
    diff.add_argument(
        "--shadow",
        action="store_true",
        help="compare with what the configuration of -c would publish, without publishing",
    )
    diff.add_argument("-c", "--config", type=Path, metavar="FILE", help="configuration to try (with --shadow)")
    for command in (run, validate):
        command.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="configuration (YAML)")
    for command in (explain, sources, diff):
        command.add_argument(
            "--admin", default="127.0.0.1:15021", metavar="HOST:PORT", help="admin address; default: %(default)s"
        )
        command.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default: %(default)s")
    for command in (run, validate, explain, sources, diff):
        level = "info" if command in (run, validate) else "error"
        command.add_argument("--log-level", choices=LEVELS, default=level, help="default: %(default)s")
        command.add_argument("--log-format", choices=FORMATS, default="text", help="default: %(default)s")
    run.add_argument(
        "--address-path",
        type=Path,
        metavar="FILE",
        help="write the bound addresses there as a JSON object once everything listens",
    )
    return parser
