"""Where an application listens, as a Sidecar writes it (IstioIngressListener.defaultEndpoint)."""

from __future__ import annotations

from typing import NamedTuple

from isthmus_controlplane.errors import ControlPlaneError

LOOPBACKS = ("127.0.0.1", "::1")
MAX_PORT = 65535


class EndpointAddressError(ControlPlaneError):
    """The text is no such address; the message says what to write."""


class EndpointAddress(NamedTuple):
    """An address of the loopback interface and a port."""

    address: str
    port: int


def endpoint_address(text: str) -> EndpointAddress:
    """Read ``127.0.0.1:PORT`` or ``[::1]:PORT``; Unix sockets are not supported.

    Raises:
        EndpointAddressError: it is neither.
    """
    host, _, port = text.rpartition(":")
    address = host.removeprefix("[").removesuffix("]")
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0
    if address in LOOPBACKS and (":" in address) == host.startswith("[") and 0 < number <= MAX_PORT:
        return EndpointAddress(address, number)
    raise EndpointAddressError(f"{text!r} is not supported: write 127.0.0.1:PORT or [::1]:PORT")
