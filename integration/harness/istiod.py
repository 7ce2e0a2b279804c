"""A real istiod, built from its Go module on first use, beside a Kubernetes API that holds nothing.

istiod of 2026 does not start without a Kubernetes client (its service entry controller asks the multicluster controller, which is
nil without one), so it gets an API server whose every list is empty and whose every watch is silent. Its configuration
comes from ``configSources`` alone.
"""

import asyncio
import contextlib
import json
import shutil
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from aiohttp import web

from bench.peers import go_dependency
from harness.http import fetch
from harness.ports import free_port
from harness.process import Process

_KINDS = {
    "namespaces": "Namespace", "secrets": "Secret", "configmaps": "ConfigMap", "services": "Service", "pods": "Pod",
    "nodes": "Node", "endpoints": "Endpoints", "endpointslices": "EndpointSlice", "serviceaccounts": "ServiceAccount",
    "customresourcedefinitions": "CustomResourceDefinition", "ingresses": "Ingress", "ingressclasses": "IngressClass",
    "mutatingwebhookconfigurations": "MutatingWebhookConfiguration",
    "validatingwebhookconfigurations": "ValidatingWebhookConfiguration", "leases": "Lease",
}  # fmt: skip
_ENDED = {"k8s.io/initial-events-end": "true"}


class EmptyKubernetes:
    """An API server in a thread: lists are empty, watches silent, writes answered with what was written."""

    def __init__(self) -> None:
        self.port = free_port()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._run(started)), daemon=True)
        self._thread.start()
        started.wait(20)

    def close(self) -> None:
        """Stop serving."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        self._loop.close()

    async def _run(self, started: threading.Event) -> None:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        started.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        if parts[0] == "version":
            return web.json_response({"major": "1", "minor": "31", "gitVersion": "v1.31.0"})
        if request.method != "GET":
            body = await request.json() if request.can_read_body else {}
            body.setdefault("metadata", {})["resourceVersion"] = "2"
            return web.json_response(body, status=201)
        group = "v1" if parts[0] == "api" else "/".join(parts[1:3])
        kind = _KINDS.get(parts[-1], "")
        if request.query.get("watch"):
            return await self._watch(request, kind, group)
        listed = {"kind": f"{kind}List", "apiVersion": group, "metadata": {"resourceVersion": "1"}, "items": []}
        missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
        return web.json_response(listed) if kind else web.json_response(missing, status=404)

    async def _watch(self, request: web.Request, kind: str, group: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        if request.query.get("sendInitialEvents"):
            metadata = {"resourceVersion": "1", "annotations": _ENDED}
            event = {"type": "BOOKMARK", "object": {"kind": kind, "apiVersion": group, "metadata": metadata}}
            await response.write(json.dumps(event).encode() + b"\n")
        with contextlib.suppress(asyncio.CancelledError):
            await self._stop.wait()
        return response


class Istiod:
    """``pilot-discovery`` whose configuration comes over MCP from one address, which must answer when it starts."""

    def __init__(self, mcp_address: str) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="isthmus-istiod-"))
        self._kubernetes = EmptyKubernetes()
        self.grpc_address = f"127.0.0.1:{free_port()}"
        self.http_address = f"127.0.0.1:{free_port()}"
        mesh = self._directory / "mesh.yaml"
        # Without automatic mutual TLS, for whose certificates the clusters of an Envoy without an agent would wait.
        settings = {"configSources": [{"address": f"xds://{mcp_address}"}], "enableAutoMtls": False}
        mesh.write_text(yaml.safe_dump(settings))
        argv: list[str | Path] = [go_dependency("istiod", "istio.io/istio/pilot/cmd/pilot-discovery"), "discovery"]
        options = {
            "registries": "Kubernetes",
            "kubeconfig": str(self._kubeconfig()),
            "meshConfig": str(mesh),
            "grpcAddr": self.grpc_address,
            "httpAddr": self.http_address,
            "secureGRPCAddr": "",
            "httpsAddr": "",
            "monitoringAddr": "",
            "ctrlz_port": "0",
        }
        flags = [f"--{name}={value}" for name, value in options.items()]
        # An Envoy that is not Istio's lacks the extension for metadata exchange.
        environment = {"PILOT_ENABLE_METADATA_EXCHANGE": "false"}
        log = self._directory / "istiod.log"
        self.process = Process("istiod", [*argv, *flags], log=log, env=environment)
        try:
            self.process.wait_until(self.ready, within=120, what="ready")
        except BaseException:
            self.close()
            raise

    def _kubeconfig(self) -> Path:
        path = self._directory / "kubeconfig"
        server = {"server": f"http://127.0.0.1:{self._kubernetes.port}"}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "empty", "cluster": server}],
            "users": [{"name": "nobody", "user": {}}],
            "contexts": [{"name": "empty", "context": {"cluster": "empty", "user": "nobody"}}],
            "current-context": "empty",
        }
        path.write_text(yaml.safe_dump(document))
        return path

    def ready(self) -> bool:
        """Whether ``/ready`` answers 200: every configuration source was heard."""
        return fetch(self.http_address, "/ready").status == 200

    def configs(self) -> dict[str, Any]:
        """What istiod holds as configuration (``/debug/configz``), specs by ``namespace/name``."""
        found = json.loads(fetch(self.http_address, "/debug/configz").text) or []
        return {f"{one['metadata']['namespace']}/{one['metadata']['name']}": one["spec"] for one in found}

    def close(self) -> None:
        """Stop both."""
        self.process.stop()
        self._kubernetes.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
