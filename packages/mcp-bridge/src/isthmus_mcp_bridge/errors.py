"""Errors of the bridge that a user can mend."""

from __future__ import annotations


class BridgeError(Exception):
    """Base of all errors that the bridge raises on purpose; the text says what to do next."""


class DocumentError(BridgeError):
    """A YAML file holds something it must not: names the file, the path in it, the value found and what is expected."""

    def __init__(self, file: str, path: str, value: object, message: str) -> None:
        self.file = file
        self.path = path
        self.value = shorten(value)
        self.message = message
        super().__init__(": ".join(part for part in (file, path, self.value, message) if part))


class HostNameError(BridgeError):
    """A registry's name for a service cannot become a host name by the rule."""


def shorten(value: object, limit: int = 120) -> str:
    """A value as it may stand in a message: strings quoted, at most ``limit`` characters; None gives nothing."""
    if value is None:
        return ""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
