"""The run-time layer: values by key that change what is configured, without a new configuration (bootstrap.v3.LayeredRuntime).

Static layers are set once from the bootstrap file; the admin layer changes while the proxy runs. Readers ask at every use.
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


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """bootstrap.v3.LayeredRuntime: the static layers ``below`` and ``above`` the admin layer, if there is one."""

    below: Mapping[str, Value] = field(default_factory=dict)
    above: Mapping[str, Value] = field(default_factory=dict)
    admin_layer: bool = False


MAX_KEYS = 1024
"""Bound of the admin layer."""


class Runtime:
    """Values by key. ``adjustable``: there is an admin layer."""

    __slots__ = ("_admin", "_config", "adjustable")

    def __init__(self, config: RuntimeConfig | None = None) -> None:
        self._config = config or RuntimeConfig()
        self._admin: dict[str, Value] = {}
        self.adjustable = self._config.admin_layer

    def get(self, key: str) -> Value | None:
        """The value of ``key``, or None."""
        config = self._config
        for layer in (config.above, self._admin, config.below):
            value = layer.get(key)
            if value is not None:
                return value
        return None

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

    def entries(self) -> dict[str, tuple[Value | None, Value | None]]:
        """Every key with its value of the static layers and of the admin layer."""
        static = {**self._config.below, **self._config.above}
        return {key: (static.get(key), self._admin.get(key)) for key in sorted({*static, *self._admin})}


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
