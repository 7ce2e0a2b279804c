"""Command line of the control plane."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from isthmus_controlplane import __version__
from isthmus_controlplane.app import run_app
from isthmus_controlplane.config import (
    DEFAULT_ADMIN,
    DEFAULT_GRPC,
    DEFAULT_SYNC_DEADLINE_S,
    Settings,
    check_interval,
    check_secrets_are_safe,
    parse_host_port,
    server_tls,
)
from isthmus_controlplane.errors import ControlPlaneError
from isthmus_controlplane.log_format import configure_logging
from isthmus_controlplane.model.loss_guard import DEFAULT_HOLD_S
from isthmus_controlplane.model.model import MeshSettings
from isthmus_controlplane.model.tracing import parse_tracing_provider
from isthmus_controlplane.techniques import without
from isthmus_controlplane.telemetry.services import DEFAULT_INTERVAL_S

MESH = MeshSettings()


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    result = argparse.ArgumentParser(
        "isthmus-controlplane", description="xDS control plane that takes Istio configuration."
    )
    result.add_argument("--version", action="version", version=f"isthmus-controlplane {__version__}")
    commands = result.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="serve xDS until SIGTERM")
    run.add_argument(
        "--store", required=True, metavar="URL", help="dir:PATH, memory: or etcd://HOST:PORT[,HOST:PORT...][/PREFIX]"
    )
    run.add_argument(
        "--mcp",
        action="append",
        default=[],
        metavar="xds://HOST:PORT",
        help="an MCP source of services; may be repeated",
    )
    run.add_argument("--grpc", default=DEFAULT_GRPC, metavar="HOST:PORT", help="where xDS is served (%(default)s)")
    run.add_argument(
        "--rest",
        default="",
        metavar="HOST:PORT",
        help="where xDS is served to clients that poll by REST-JSON (nowhere)",
    )
    run.add_argument("--admin", default=DEFAULT_ADMIN, metavar="HOST:PORT", help="admin endpoints (%(default)s)")
    run.add_argument("--grpc-certificate", default="", metavar="FILE", help="serve xDS over TLS with this chain")
    run.add_argument("--grpc-key", default="", metavar="FILE", help="the key of --grpc-certificate")
    run.add_argument(
        "--grpc-client-ca", default="", metavar="FILE", help="clients have to show a certificate signed by one of these"
    )
    run.add_argument(
        "--resources", default="", metavar="DIR", help="Envoy resources written by hand, which join what is generated"
    )
    run.add_argument(
        "--secrets", default="", metavar="DIR", help="certificates and keys for clients whose resources name them"
    )
    run.add_argument("--address-path", default="", metavar="FILE", help="write the bound addresses there as JSON")
    run.add_argument(
        "--outbound-traffic-policy", choices=["REGISTRY_ONLY", "ALLOW_ANY"], default="REGISTRY_ONLY",
        help="requests for hosts that nobody defined: answer 502, or pass through (%(default)s)",
    )  # fmt: skip
    run.add_argument(
        "--root-namespace", default=MESH.root_namespace, metavar="NAME",
        help="namespace whose policies hold for all (%(default)s)",
    )  # fmt: skip
    run.add_argument(
        "--ca-certificates", default=MESH.ca_certificates, metavar="FILE",
        help="where nodes have the authorities that they trust for servers of the internet (%(default)s)",
    )  # fmt: skip
    run.add_argument(
        "--locality-failover", choices=["on", "off"], default="on",
        help="whether the nearest endpoints are preferred where a DestinationRule detects outliers (%(default)s)",
    )  # fmt: skip
    run.add_argument(
        "--tracing-provider", action="append", default=[], metavar="NAME=URL",
        help="where spans go, grpc://HOST:PORT or http://HOST:PORT/PATH of a service in the mesh, by OTLP; repeatable",
    )  # fmt: skip
    run.add_argument(
        "--sync-deadline-s", type=float, default=DEFAULT_SYNC_DEADLINE_S, metavar="SECONDS",
        help="how long to wait for every store before serving with what there is (%(default)s)",
    )  # fmt: skip
    run.add_argument(
        "--loss-hold-s", type=float, default=DEFAULT_HOLD_S, metavar="SECONDS",
        help="how long instances are kept when most of a service's vanish at once; 0 for not at all (%(default)s)",
    )  # fmt: skip
    run.add_argument(
        "--load-report-interval-s", type=float, default=DEFAULT_INTERVAL_S, metavar="SECONDS",
        help="how often clients report their loads (%(default)s)",
    )  # fmt: skip
    run.add_argument(
        "--without", default="", metavar="NAMES",
        help="for measurements, what to switch off: serialise-once, precompute-per-scope, affected-only, incremental",
    )  # fmt: skip
    run.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default="info")
    run.add_argument("--log-format", choices=["text", "json"], default="text")
    return result


def settings_of(options: argparse.Namespace) -> Settings:
    """Build the settings.

    Raises:
        ConfigError: an address is not one, or options do not fit together.
    """
    settings = Settings(
        store=options.store,
        mcp=tuple(options.mcp),
        grpc=parse_host_port(options.grpc, "--grpc"),
        admin=parse_host_port(options.admin, "--admin"),
        mesh=MeshSettings(
            options.outbound_traffic_policy,
            options.root_namespace,
            options.ca_certificates,
            options.locality_failover == "on",
            tuple(parse_tracing_provider(each, "--tracing-provider") for each in options.tracing_provider),
        ),
        sync_deadline=options.sync_deadline_s,
        loss_hold=options.loss_hold_s,
        load_report_interval=check_interval(options.load_report_interval_s, "--load-report-interval-s"),
        techniques=without(options.without),
        address_path=options.address_path,
        rest=parse_host_port(options.rest, "--rest") if options.rest else None,
        resources=options.resources,
        secrets=options.secrets,
        tls=server_tls(options.grpc_certificate, options.grpc_key, options.grpc_client_ca),
    )
    check_secrets_are_safe(settings)
    return settings


def main(arguments: Sequence[str] | None = None) -> None:
    """Run; ends with 0 after SIGTERM, 1 for a wrong configuration, 2 for a wrong command line."""
    options = parser().parse_args(arguments)
    configure_logging(options.log_level, options.log_format)
    try:
        run_app(settings_of(options))
    except ControlPlaneError as error:
        print(f"isthmus-controlplane: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
