"""Whether this installation runs the data path as compiled modules or as the same modules interpreted."""

from __future__ import annotations

from importlib.util import find_spec

_WITNESS = "isthmus_proxy.reactor.timers"


def build_kind() -> str:
    """``compiled`` if the wheel was built with the compile hook (see ``hatch_build.py``), else ``pure``. Imports nothing of note."""
    spec = find_spec(_WITNESS)
    origin = spec.origin if spec is not None else None
    return "pure" if origin is None or origin.endswith(".py") else "compiled"
