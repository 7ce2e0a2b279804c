"""Requests and answers of the registry APIs: JSON objects, whatever the content type says (SDKs say text/plain)."""

from __future__ import annotations

import json
from dataclasses import dataclass


class BadRequest(Exception):  # noqa: N818 - the SDK's fault, told to it
    """A request that cannot be understood; the text says why."""


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """A status and a JSON value."""

    status: int
    body: object


def read_object(body: bytes) -> dict[str, object]:
    """The JSON object of a request. Raises BadRequest."""
    try:
        found = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise BadRequest("the body must be a JSON object")
    return found


def text_of(fields: dict[str, object], name: str, *, required: bool = False) -> str:
    """Field ``name`` as text, empty where it is not set. Raises BadRequest."""
    value = fields.get(name)
    if value is None or value == "":
        if required:
            raise BadRequest(f"{name} is required")
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadRequest(f"{name} must be text")
    return str(value)


def texts_of(fields: dict[str, object], name: str) -> dict[str, str]:
    """Field ``name`` as a mapping of texts. Raises BadRequest."""
    value = fields.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequest(f"{name} must be an object")
    return {str(key): each if isinstance(each, str) else json.dumps(each) for key, each in value.items()}
