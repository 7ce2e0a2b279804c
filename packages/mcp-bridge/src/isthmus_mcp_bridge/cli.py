"""The command line: ``run`` and ``validate``."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from isthmus_mcp_bridge import __version__, app
from isthmus_mcp_bridge.config.load import load_config
from isthmus_mcp_bridge.errors import BridgeError
from isthmus_mcp_bridge.observe.log_format import FORMATS, LEVELS, configure_logging

PROGRAM = "isthmus-mcp-bridge"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program. Returns its exit status: 0, or 1 after one line on standard error that says what to mend."""
    options = _parser().parse_args(arguments)
    configure_logging(options.log_level, options.log_format)
    try:
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description="Read legacy service registries, merge their entries and serve them over MCP."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run the bridge until SIGTERM or SIGINT")
    validate = commands.add_parser("validate", help="check the configuration and exit")
    for command in (run, validate):
        command.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="configuration (YAML)")
        command.add_argument("--log-level", choices=LEVELS, default="info", help="default: %(default)s")
        command.add_argument("--log-format", choices=FORMATS, default="text", help="default: %(default)s")
    run.add_argument(
        "--address-path",
        type=Path,
        metavar="FILE",
        help="write the bound addresses there as a JSON object once everything listens",
    )
    return parser
