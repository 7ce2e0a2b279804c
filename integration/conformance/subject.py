"""The programs that the suites ask: our proxy, and others with the same task for comparison."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.http_plan import HttpPlan, envoy_bootstrap
from bench.subjects.http import SUBJECTS
from harness.envoy import Envoy
from harness.isthmus import Proxy
from harness.ports import free_port

PROXIES = ("envoy", "haproxy", "nginx")


@contextmanager
def http_proxy(
    name: str, origin_port: int, folder: Path, *, websocket: bool = False, codec: str = "AUTO"
) -> Iterator[int]:
    """A proxy of everything to the origin, with the defaults of the program; gives its port.

    ``websocket`` lets upgrades pass, and ``codec`` (HTTP1, HTTP2) lets clients speak nothing else, where the program wants to be told
    (Isthmus and Envoy).
    """
    plan = HttpPlan(free_port(), free_port(), origin_port, folder)
    if name in {"isthmus", "envoy"}:
        bootstrap = _bootstrap(plan, websocket=websocket, codec=codec)
        with _start(name, bootstrap, folder) as proxy:
            proxy.wait_ready()
            yield plan.port
        return
    running = SUBJECTS[name](plan, "")
    try:
        yield plan.port
    finally:
        running.stop()


def _start(name: str, bootstrap: dict[str, Any], folder: Path) -> Proxy | Envoy:
    if name == "envoy":
        return Envoy(bootstrap, folder, log="error")
    return Proxy(bootstrap, folder, options=["--log-level", "warning"])


def _bootstrap(plan: HttpPlan, *, websocket: bool, codec: str) -> dict[str, Any]:
    bootstrap: dict[str, Any] = envoy_bootstrap(plan)
    (listener,) = bootstrap["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    # Envoy leaves a refused connection open this long, without telling the client that it is over.
    manager["delayed_close_timeout"] = "0.1s"
    manager["codec_type"] = codec
    if websocket:
        manager["upgrade_configs"] = [{"upgrade_type": "websocket"}]
    return bootstrap
