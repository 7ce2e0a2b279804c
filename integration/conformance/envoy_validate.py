"""The suite ``envoy-validate``: ``envoy --mode validate`` on every bootstrap we show, and on every resource we generate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from conformance.result import Outcome, verdict
from demo import bootstraps
from harness.envoy import validate
from harness.example_certificates import make_example_certificates, with_certificates
from isthmus_controlplane.model.model import MeshSettings
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.model.testing import admitted
from isthmus_controlplane.translate import translate
from isthmus_controlplane.translate.translation import CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE
from test_translate_envoy_validates import (
    ADS,
    ADS_CLUSTER,
    OBJECTS,
    SCOPES,
    plain,
    with_endpoints_inline,
    with_routes_inline,
)

NAME = "envoy-validate"
PEERS: tuple[str, ...] = ()
INTEGRATION = Path(__file__).parent.parent
ROOT = INTEGRATION.parent


def run(subject: str, folder: Path) -> Iterator[Outcome]:
    """Let Envoy judge."""
    del subject
    certificates = make_example_certificates(folder)
    for name, bootstrap in shown(certificates):
        taken, said = validate(bootstrap)
        yield verdict(NAME, name, [] if taken else [said])
    for policy in ("REGISTRY_ONLY", "ALLOW_ANY"):
        for title, scope in SCOPES.items():
            yield from _generated(policy, title.replace(" ", "-"), scope)


def shown(certificates: Path) -> Iterator[tuple[str, str | Path | dict[str, Any]]]:
    """Every bootstrap of the examples, the demo and the containers; what the examples look for in ./certs is in ``certificates``."""
    for path in sorted((ROOT / "packages/proxy/examples").glob("*.yaml")):
        yield f"example/{path.stem}", with_certificates(path.read_text(), certificates)
    yield "demo/service", bootstraps.service_sidecar("reviews", "127.0.0.1:9080", "127.0.0.1:8080")
    for api_type in ("GRPC", "DELTA_GRPC"):
        yield f"demo/client-{api_type.lower()}", bootstraps.client_sidecar("c", 15001, "127.0.0.1:15010", api_type)
    for path in sorted((INTEGRATION / "compose/config").glob("*.yaml")):
        if "static_resources" in (yaml.safe_load(path.read_text()) or {}):
            yield f"compose/{path.stem}", path


def _generated(policy: Any, title: str, scope: Scope) -> Iterator[Outcome]:
    """All resources of one scope: as they go over ADS, and with routes and endpoints put where they belong."""
    messages = translate(admitted(OBJECTS, mesh=MeshSettings(policy)).model, scope).messages
    for inline in (False, True):
        clusters = [plain(message) for message in messages[CLUSTER_TYPE].values()]
        listeners = [plain(message) for message in messages[LISTENER_TYPE].values()]
        if inline:
            clusters = [with_endpoints_inline(each, messages[ENDPOINT_TYPE]) for each in clusters]
            listeners = [with_routes_inline(each, messages[ROUTE_TYPE]) for each in listeners]
        bootstrap = {
            "node": {"id": "sidecar~127.0.0.1~test.default~default.svc.cluster.local", "cluster": "test"},
            "dynamic_resources": {"ads_config": ADS},
            "static_resources": {"clusters": [ADS_CLUSTER, *clusters], "listeners": listeners},
        }
        taken, said = validate(bootstrap)
        name = f"generated/{policy.lower().replace('_', '-')}/{title}/{'inline' if inline else 'over-ads'}"
        yield verdict(NAME, name, [] if taken else [said])
