"""Policies of dual mode as values, and how they are read from messages; see docs/reference/dual-mode.md. Pure."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable
from typing import Any

from isthmus_api.dualmode.v1alpha1.dual_mode_pb2 import DualMode
from isthmus_mcp_bridge.catalog.istio_rules import MAX_PORT, is_ip
from isthmus_mcp_bridge.dualmode.instance import Address, Instance
from isthmus_mcp_bridge.errors import BridgeError, shorten
from isthmus_mcp_bridge.model import Labels

OVERLAP_S = 5.0
MAX_OVERLAP_S = 3600.0
_HUNDRED = 100.0
_ROUNDING = 1e-9


class Choice(enum.StrEnum):
    """What an order of preference names."""

    NATIVE = "native"
    MESH = "mesh"
    GATEWAY = "gateway"


Order = tuple[Choice, ...]
"""Choices, the preferred one first."""
DEFAULT_ORDER: Order = (Choice.MESH, Choice.NATIVE)
"""What consumers are shown where no policy says otherwise; also the order of what an order does not name."""


class PolicyError(BridgeError):
    """A policy cannot be used; the text says which field and why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """A share of the instances (in percent) that goes by an order of its own."""

    name: str
    percent: float
    prefer: Order


@dataclasses.dataclass(frozen=True, slots=True)
class View:
    """What consumers of one side are shown; says nothing where both are empty."""

    rules: tuple[Rule, ...] = ()
    prefer: Order = ()

    def __bool__(self) -> bool:
        return bool(self.rules or self.prefer)


@dataclasses.dataclass(frozen=True, slots=True)
class Override:
    """Orders for one instance, named by its id or one of its addresses; an empty one says nothing."""

    instance: str
    sdk: Order = ()
    mesh: Order = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Policy:
    """One DualMode. ``namespaces`` are those of the services it is for, ``*`` for all; ``overlap_s`` is in seconds."""

    namespace: str
    name: str
    host: str = ""
    application: str = ""
    labels: Labels = ()
    namespaces: frozenset[str] = frozenset()
    sdk: View = View()
    mesh: View = View()
    gateway: Address | None = None
    overlap_s: float = OVERLAP_S
    overrides: tuple[Override, ...] = ()

    @property
    def full_name(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    def selects(self, instance: Instance) -> bool:
        """Whether the policy is for the instance."""
        if self.host not in ("", instance.service.host) or self.application not in ("", instance.application):
            return False
        if "*" not in self.namespaces and instance.service.namespace not in self.namespaces:
            return False
        return not self.labels or set(self.labels) <= set(instance.labels)

    def precedence(self, namespace: str) -> tuple[object, ...]:
        """Of the policies that select an instance of a service in ``namespace``, the one with the smallest counts."""
        narrowness = (not self.host, not self.application, -len(self.labels))
        return (*narrowness, self.namespace != namespace, self.namespace, self.name)


def read_policy(namespace: str, name: str, spec: DualMode) -> Policy:
    """The policy that a message is. Raises PolicyError."""
    gateway = _gateway(spec)
    return Policy(
        namespace=namespace,
        name=name,
        host=spec.host.lower(),
        application=spec.application,
        labels=tuple(sorted(spec.labels.items())),
        namespaces=frozenset(namespace if each == "." else each for each in spec.export_to or (".",)),
        sdk=_view(spec.sdk, "sdk", gateway),
        mesh=_view(spec.mesh, "mesh", gateway),
        gateway=gateway,
        overlap_s=_overlap_s(spec),
        overrides=tuple(_override(each, f"overrides[{n}]", gateway) for n, each in enumerate(spec.overrides)),
    )


def _gateway(spec: DualMode) -> Address | None:
    if not spec.HasField("gateway"):
        return None
    if not is_ip(spec.gateway.host):
        raise PolicyError(f"spec.gateway.host: {shorten(spec.gateway.host)} is not an IP address")
    if not 0 < spec.gateway.port <= MAX_PORT:
        raise PolicyError(f"spec.gateway.port: {spec.gateway.port} is not a port: use 1 to {MAX_PORT}")
    return Address(spec.gateway.host, spec.gateway.port)


def _overlap_s(spec: DualMode) -> float:
    if not spec.HasField("overlap"):
        return OVERLAP_S
    seconds = spec.overlap.seconds + spec.overlap.nanos / 1e9
    if not 0 <= seconds <= MAX_OVERLAP_S:
        raise PolicyError(f"spec.overlap: {seconds:g} s is not from 0 to {MAX_OVERLAP_S:g} s")
    return seconds


def _view(view: Any, path: str, gateway: Address | None) -> View:
    rules: list[Rule] = []
    total = 0.0
    for index, rule in enumerate(view.rules):
        below = f"{path}.rules[{index}]"
        total += rule.percent
        if not 0 <= rule.percent <= _HUNDRED or total > _HUNDRED + _ROUNDING:
            raise PolicyError(f"spec.{below}.percent: {rule.percent} is not from 0 to 100, with the rules before it")
        order = _order(rule.prefer, f"{below}.prefer", gateway)
        if not order:
            raise PolicyError(f"spec.{below}.prefer: is empty: name at least one of native, mesh and gateway")
        rules.append(Rule(rule.name or str(index), rule.percent, order))
    return View(tuple(rules), _order(view.prefer, f"{path}.prefer", gateway))


def _order(values: Iterable[str], path: str, gateway: Address | None) -> Order:
    order: list[Choice] = []
    for value in values:
        if value not in list(Choice) or value in order:
            raise PolicyError(f"spec.{path}: {shorten(value)} is not one of native, mesh and gateway, or stands twice")
        if value == Choice.GATEWAY and gateway is None:
            raise PolicyError(f"spec.{path}: 'gateway' has no address: set spec.gateway")
        order.append(Choice(value))
    return tuple(order)


def _override(each: Any, path: str, gateway: Address | None) -> Override:
    if not each.instance:
        raise PolicyError(f"spec.{path}.instance: is empty: name an instance, or one of its addresses as host:port")
    sdk = _order(each.sdk, f"{path}.sdk", gateway)
    return Override(each.instance, sdk, _order(each.mesh, f"{path}.mesh", gateway))
