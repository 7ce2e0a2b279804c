"""The run-time layer: values by key that change what is configured, without a new configuration (bootstrap.v3.LayeredRuntime).

Static layers are set once from the bootstrap file; the admin layer and those that come over xDS (RTDS) change while the proxy
runs. Readers ask at every use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Value = str | int | float | bool | tuple[int, int]
"""A value; a pair is a FractionalPercent: numerator and denominator."""


@dataclass(frozen=True, slots=True)
class Fraction:
    """type.v3.FractionalPercent with the key that overrides it (core.v3.RuntimeFractionalPercent); key empty = never."""

    numerator: int
    denominator: int = 100
    runtime_key: str = ""


STATIC, ADMIN, DISCOVERED = "static", "admin", "discovered"


@dataclass(frozen=True, slots=True)
class Layer:
    """bootstrap.v3.RuntimeLayer. ``kind``: static, with its values; admin; or discovered, whose values come over xDS.

    ``resource`` is the name under which a discovered layer is asked for; ``initial_fetch_timeout`` in seconds, 0 = none.
    """

    name: str
    kind: str
    values: Mapping[str, Value] = field(default_factory=dict)
    resource: str = ""
    initial_fetch_timeout: float = 15.0


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """bootstrap.v3.LayeredRuntime: later layers override earlier ones."""

    layers: tuple[Layer, ...] = ()

    @property
    def discovered(self) -> tuple[Layer, ...]:
        """The layers that come over xDS."""
        return tuple(layer for layer in self.layers if layer.kind == DISCOVERED)


MAX_KEYS = 1024
"""Bound of the admin layer."""


class Runtime:
    """Values by key. ``adjustable``: there is an admin layer."""

    __slots__ = ("_admin", "_layers", "_search", "adjustable")

    def __init__(self, config: RuntimeConfig | None = None) -> None:
        layers = config.layers if config is not None else ()
        self._admin: dict[str, Value] = {}
        self._layers = {
            layer.name: self._admin if layer.kind == ADMIN else dict(layer.values) for layer in layers
        }  # in the order in which they override each other
        self._search = tuple(reversed(self._layers.values()))
        self.adjustable = any(layer.kind == ADMIN for layer in layers)

    def get(self, key: str) -> Value | None:
        """The value of ``key``, or None."""
        for layer in self._search:
            value = layer.get(key)
            if value is not None:
                return value
        return None

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers; each overrides those before it."""
        return tuple(self._layers)

    @property
    def overridden(self) -> int:
        """How many keys the admin layer has."""
        return len(self._admin)

    def replace(self, name: str, values: Mapping[str, Value]) -> None:
        """Give the discovered layer ``name`` other values."""
        layer = self._layers[name]
        layer.clear()
        layer.update(values)

    def modify(self, values: Mapping[str, str]) -> bool:
        """Set values of the admin layer; the empty string removes one. False, and nothing set, if they are too many."""
        if len({*self._admin, *values}) > MAX_KEYS:
            return False
        for key, text in values.items():
            if text:
                self._admin[key] = parsed(text)
            else:
                self._admin.pop(key, None)
        return True

    def integer(self, key: str, default: int) -> int:
        """The value of ``key`` if it is a whole number that is not negative, else ``default``."""
        found = _whole(self.get(key))
        return default if found is None else found

    def boolean(self, key: str, default: bool) -> bool:
        """The value of ``key`` if it is a truth value or a whole number, 0 being false, else ``default`` (Envoy's getBoolean)."""
        found = self.get(key)
        if isinstance(found, bool):
            return found
        number = _whole(found)
        return default if number is None else number != 0

    def admits(self, fraction: Fraction, random: float) -> bool:
        """Whether a draw ``random`` in [0, 1) falls below ``fraction``, or below the value of its key if there is one.

        A whole number is a per cent; above 100 it is always. Other values count as absent (Envoy's featureEnabled).
        """
        value = self.get(fraction.runtime_key) if fraction.runtime_key else None
        if isinstance(value, tuple):
            return random * value[1] < value[0]
        per_cent = _whole(value)
        if per_cent is not None:
            return random * 100 < per_cent
        return random * fraction.denominator < fraction.numerator

    def entries(self) -> dict[str, tuple[Value | None, ...]]:
        """Every key with its value of each layer."""
        layers = self._layers.values()
        return {
            key: tuple(layer.get(key) for layer in layers) for key in sorted({key for layer in layers for key in layer})
        }


def _whole(value: Value | None) -> int | None:
    if value is None or isinstance(value, bool | str | tuple) or value < 0 or value % 1 != 0:  # infinity and nan, too
        return None
    return int(value)


def parsed(text: str) -> Value:
    """``text`` as a number or a truth value if it reads as one."""
    if text in ("true", "false"):
        return text == "true"
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text
