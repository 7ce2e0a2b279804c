"""The options of ``isthmus-proxy iptables``."""

from __future__ import annotations

import argparse
import ipaddress
from collections.abc import Callable
from typing import TypeVar

from isthmus_proxy.interception.rules import Interception, Network

T = TypeVar("T")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--print", action="store_true", help="print what apply would do, and change nothing")
    action.add_argument("--apply", action="store_true", help="put the rules in place, in place of any of ours")
    action.add_argument("--clean", action="store_true", help="remove the rules, and nothing else")
    add_ports(parser)
    add_destinations(parser)
    parser.add_argument("--no-ipv6", action="store_true", help="leave IPv6 alone")


def add_ports(parser: argparse.ArgumentParser) -> None:
    """The proxy's ports and users, and the ports of the application."""
    ports, numbers = _list_of(_port), _list_of(_number)
    both = Interception()
    for name, default, what in (("inbound", both.inbound_port, "in"), ("outbound", both.outbound_port, "out")):
        text = f"the proxy's port for what comes {what} (default: {default})"
        parser.add_argument(f"--{name}-port", type=_port, default=default, metavar="PORT", help=text)
    text = "users whose connections pass: the proxy's; needed here or by --proxy-gid"
    parser.add_argument("--proxy-uid", type=numbers, default=(), metavar="UID,...", help=text)
    parser.add_argument(
        "--proxy-gid", type=numbers, default=(), metavar="GID,...", help="groups whose connections pass"
    )
    text = "ports of the application; * is every one (default), - none"
    parser.add_argument("--inbound-ports", type=_or_all(ports), default=None, metavar="PORT,...|*|-", help=text)
    text = "ports that are not led through the proxy"
    parser.add_argument("--exclude-inbound-ports", type=ports, default=(), metavar="PORT,...", help=text)
    parser.add_argument("--exclude-outbound-ports", type=ports, default=(), metavar="PORT,...", help=text)


def add_destinations(parser: argparse.ArgumentParser) -> None:
    """Where the application's connections go."""
    networks = _list_of(_network)
    text = "destinations; * is every one (default), - none"
    parser.add_argument("--outbound-cidrs", type=_or_all(networks), default=None, metavar="CIDR,...|*|-", help=text)
    text = "destinations that are not led through the proxy"
    parser.add_argument("--exclude-outbound-cidrs", type=networks, default=(), metavar="CIDR,...", help=text)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text[:11]) < 1 << 32):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number below 2^32")
    return int(text)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:6]) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to 65535")
    return int(text)


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a network such as 10.0.0.0/8: {error}") from error


def _list_of(read: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    def items(text: str) -> tuple[T, ...]:
        return tuple(read(part) for part in text.split(",") if part)

    return items


def _or_all(read: Callable[[str], tuple[T, ...]]) -> Callable[[str], tuple[T, ...] | None]:
    def items(text: str) -> tuple[T, ...] | None:
        return None if text == "*" else () if text == "-" else read(text)

    return items
