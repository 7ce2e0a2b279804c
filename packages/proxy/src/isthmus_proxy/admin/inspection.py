"""Endpoints that Envoy's tools ask for and that need little to answer: certificates, what start-up waits for, versions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from isthmus_proxy.admin.response import JSON, AdminRequest, AdminResponse, Endpoint, text


def endpoints(
    certificates: Callable[[], Iterable[dict[str, object]]], unready: Callable[[], dict[str, list[str]]]
) -> tuple[Endpoint, ...]:
    """The endpoints.

    ``certificates`` gives those in use, each as envoy.admin.v3.Certificate; ``unready`` what start-up still waits for: names
    by kind of resource.
    """

    def certs(_request: AdminRequest) -> AdminResponse:
        return AdminResponse(200, (json.dumps({"certificates": list(certificates())}, indent=1), "\n"), JSON)

    def init_dump(request: AdminRequest) -> AdminResponse:
        mask = request.query.get("mask", "")
        found = [
            {"name": f"init manager {kind}", "target_names": names}
            for kind, names in unready().items()
            if names and mask in ("", kind)
        ]
        return AdminResponse(200, (json.dumps({"unready_targets_dumps": found} if found else {}, indent=1), "\n"), JSON)

    return (
        Endpoint("/certs", "print certs on machine", certs),
        Endpoint(
            "/init_dump",
            "print what the start still waits for",
            init_dump,
            parameters=(("mask", "Only this kind of resource (listener)"),),
        ),
        Endpoint("/hot_restart_version", "print the hot restart compatibility version", _no_hot_restart),
    )


def _no_hot_restart(_request: AdminRequest) -> AdminResponse:
    return text("disabled")
