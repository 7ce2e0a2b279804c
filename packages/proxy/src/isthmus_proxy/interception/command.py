"""``isthmus-proxy iptables``: prints, applies or removes the rules by the system's own tools."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from dataclasses import dataclass

from isthmus_proxy.interception.rules import Interception, apply_script, clean_script

TOOL_SECONDS = 30.0
"""How long iptables may wait for its lock, which others may hold."""


class ToolError(Exception):
    """A tool is missing or failed; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The tools of one IP version."""

    version: int
    list_tool: str
    restore_tool: str


IPV4 = Tables(4, "iptables", "iptables-restore")
IPV6 = Tables(6, "ip6tables", "ip6tables-restore")


def run(options: argparse.Namespace) -> int:
    """Do what the options ask for; the exit status. Raises ToolError."""
    families = (IPV4,) if options.no_ipv6 else (IPV4, IPV6)
    if options.clean:
        for tables in families:
            _restore(tables, clean_script(_present(tables)))
        return 0
    if not options.proxy_uid and not options.proxy_gid:
        raise ToolError("--proxy-uid or --proxy-gid is needed: without it the proxy's own connections come back to it")
    interception = _interception(options)
    if options.print:
        for tables in families:
            sys.stdout.write(f"# {tables.restore_tool} --noflush\n{apply_script(interception, tables.version, '')}")
        return 0
    for tables in families:
        _restore(tables, apply_script(interception, tables.version, _present(tables)))
    return 0


def _interception(options: argparse.Namespace) -> Interception:
    return Interception(
        inbound_port=options.inbound_port,
        outbound_port=options.outbound_port,
        proxy_uids=options.proxy_uid,
        proxy_gids=options.proxy_gid,
        inbound_ports=options.inbound_ports,
        exclude_inbound_ports=options.exclude_inbound_ports,
        exclude_outbound_ports=options.exclude_outbound_ports,
        outbound_networks=options.outbound_cidrs,
        exclude_outbound_networks=options.exclude_outbound_cidrs,
    )


def _present(tables: Tables) -> str:
    return _run([_found(tables.list_tool), "-w", "-t", "nat", "-S"], "")


def _restore(tables: Tables, script: str) -> None:
    if script:
        _run([_found(tables.restore_tool), "-w", "--noflush"], script)


def _found(tool: str) -> str:
    path = shutil.which(tool) or shutil.which(tool, path="/usr/sbin:/sbin")
    if path is None:
        raise ToolError(f"{tool} is not installed; install the package iptables (for IPv6 alone --no-ipv6 helps)")
    return path


def _run(command: list[str], text: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - a tool found on the path, with numbers and networks that were read as such
            command, input=text, capture_output=True, text=True, timeout=TOOL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ToolError(
            f"{command[0]} did not end within {TOOL_SECONDS:g} s; does another program hold its lock?"
        ) from None
    if done.returncode:
        said = done.stderr.strip() or f"exit status {done.returncode}"
        raise ToolError(
            f"{' '.join(command)}: {said}; it needs CAP_NET_ADMIN in the network namespace of the application"
        )
    return done.stdout
