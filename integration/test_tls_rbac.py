"""Access control by who a client's certificate says it is, and by the name that it asks for: as a live Envoy decides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.envoy import Envoy
from harness.isthmus import Proxy
from harness.origin import Origin
from harness.ports import free_port
from isthmus_proxy.tls.testing import Files, make_files
from test_tls import address, ask, client, cluster, downstream, get, manager, on_both, pair, roots

Json = dict[str, Any]
RBAC = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
NAMES = {
    "anybody": {},
    "uri": {"principal_name": {"exact": "spiffe://mesh/client"}},
    "dns": {"principal_name": {"exact": "client.example"}},
    "subject": {"principal_name": {"contains": "CN=client"}},
    "subject-without-sans": {"principal_name": {"contains": "CN=plain"}},
    "server": {"principal_name": {"exact": "spiffe://mesh/server"}},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return make_files(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    with Origin("one", "v1", tmp_path_factory.mktemp("origin")) as running:
        yield running


def policies() -> Json:
    found: Json = {
        name: {
            "permissions": [{"url_path": {"path": {"exact": f"/echo/{name}"}}}],
            "principals": [{"authenticated": authenticated}],
        }
        for name, authenticated in NAMES.items()
    }
    found["asked"] = {
        "permissions": [
            {
                "and_rules": {
                    "rules": [
                        {"url_path": {"path": {"exact": "/echo/asked"}}},
                        {"requested_server_name": {"exact": "two.example"}},
                    ]
                }
            }
        ],
        "principals": [{"any": True}],
    }
    return found


def test_certificates_and_server_names_decide_as_with_envoy(files: Files, origin: Origin, tmp_path: Path) -> None:
    port = free_port()

    def listeners(log: str) -> list[Json]:
        rules = {"@type": RBAC, "rules": {"action": "ALLOW", "policies": policies()}}
        filters = [{"name": "rbac", "typed_config": rules}, {"name": "r", "typed_config": {"@type": ROUTER}}]
        common = {"tls_certificates": [pair(files.server)], "validation_context": roots(files.authority.root)}
        chain = {"filters": [manager(log, {"/": "one"}, http_filters=filters)], "transport_socket": downstream(common)}
        return [{"name": "l", "address": address(port), "filter_chains": [chain]}]

    questions = [
        (path, certificate, "server.example")
        for certificate in (None, files.client, files.server, files.wild)
        for path in NAMES
    ]
    questions += [("asked", None, "server.example"), ("asked", None, "two.example")]

    def play(_side: Envoy | Proxy) -> list[object]:
        return [
            (path, name, ask(port, client(files, certificate), name, get(f"/echo/{path}"))[-1])
            for path, certificate, name in questions
        ]

    envoys, ours = on_both(listeners, [cluster("one", origin.port)], tmp_path, play)
    for found, expected in zip(ours[:-1], envoys[:-1], strict=True):
        assert found == expected
    assert any("200 OK" in str(found) for found in ours[:-1])
    details = [[line["RESPONSE_CODE_DETAILS"] for line in side[-1]] for side in (ours, envoys)]  # type: ignore[attr-defined]
    assert details[0] == details[1]
