"""``/why``: what would be done with a request, and why not otherwise. The explanation is loaded when somebody asks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from isthmus_proxy.admin.response import JSON, AdminRequest, AdminResponse, Endpoint, text

if TYPE_CHECKING:
    from isthmus_proxy.listener.model import Extension
    from isthmus_proxy.why.answer import Clusters, Serving

_HELP = "tell what would be done with a request, and why not otherwise"
_PARAMETERS = (
    ("listener", "Name of the listener; needed if there are several and no destination is given"),
    ("destination", "ADDRESS:PORT to which the connection goes (default: the listener's)"),
    ("source", "ADDRESS:PORT from which it comes (default: 127.0.0.1:1)"),
    ("server_name", "TLS server name"),
    ("transport_protocol", "tls or raw_buffer (default)"),
    ("application_protocols", "Detected or offered by ALPN, separated by commas"),
    ("method", "Default: GET"),
    ("authority", "The host of the request"),
    ("path", "With its query, percent-encoded (default: /)"),
    ("header.NAME", "A request header"),
)


def endpoints(
    listeners: Callable[[], Sequence[Serving]],
    clusters: Clusters,
    time: Callable[[], float],
    extensions: Callable[[str], Extension | None] = lambda _name: None,
) -> tuple[Endpoint, ...]:
    """The endpoint; ``listeners`` are those in use at the moment of a question, ``time`` tells that as seconds since 1970.

    ``extensions`` answers the newest configuration of an HTTP filter over xDS.
    """

    def why(request: AdminRequest) -> AdminResponse:
        from isthmus_proxy.why.answer import World, explain  # noqa: PLC0415 - see the module
        from isthmus_proxy.why.question import QuestionError, parse  # noqa: PLC0415 - see the module

        try:
            names = [name for name, _ in _PARAMETERS]
            answer = explain(parse(request.query, names), World(listeners(), clusters, time(), extensions))
        except QuestionError as error:
            return text(f"{error}\n", 400)
        return AdminResponse(200, (json.dumps(answer, indent=1), "\n"), JSON)

    return (Endpoint("/why", _HELP, why, parameters=_PARAMETERS),)
