"""Keeps out of memory what libraries import and an idle proxy never uses: 5 MB of OpenSSL, 1.2 MB of protobuf in Python.

trio imports ``ssl`` for its TLS streams and ``hashlib`` for DTLS; protobuf imports its message classes written in Python even
where those in C are used. ``ssl`` and these classes are put in as stand-ins that become the real modules when somebody
first uses them; ``hashlib`` is imported with the interpreter's built-in hash functions instead of OpenSSL's. Nothing else
changes: code that needs TLS imports ``ssl`` as ever and gets it.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType


def prepare() -> None:
    """To be called before trio and protobuf are imported; does nothing for what is imported already."""
    if "hashlib" not in sys.modules and "_hashlib" not in sys.modules:
        # None makes ``import _hashlib`` fail, for which hashlib and hmac have fallbacks of their own.
        sys.modules["_hashlib"] = None  # type: ignore[assignment]
        try:
            importlib.import_module("hashlib")
            importlib.import_module("hmac")
        finally:
            del sys.modules["_hashlib"]
    for name in ("ssl", "google.protobuf.internal.python_message"):
        if name not in sys.modules:
            sys.modules[name] = _Later(name)


class _Later(ModuleType):
    """Stands for a module until one of its names is asked for. (importlib's LazyLoader loads at ``import`` in 3.11.)"""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        real = importlib.import_module(self.__name__)
        self.__dict__.update(real.__dict__)
        return getattr(real, name)
