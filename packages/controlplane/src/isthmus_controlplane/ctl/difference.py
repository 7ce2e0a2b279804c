"""What an apply would change, as a unified diff. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from isthmus_controlplane.errors import ConfigError

_SERVER_FIELDS = ("resourceVersion", "creationTimestamp")


def differences(held: Sequence[Any], texts: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of the difference between held objects and those of YAML texts.

    Raises:
        ConfigError: a text is not YAML.
    """
    known = {_key(each): each for each in held}
    for name, text in texts.items():
        try:
            documents = [each for each in yaml.safe_load_all(text) if isinstance(each, dict)]
        except yaml.YAMLError as error:
            raise ConfigError(f"-f {name}: is not YAML: {error}") from error
        for document in documents:
            key = _key(document)
            before = _lines(known[key]) if key in known else []
            yield from difflib.unified_diff(
                before, _lines(document), f"held {'/'.join(key)}", f"{name} {'/'.join(key)}"
            )


def _key(document: Mapping[str, Any]) -> tuple[str, str, str]:
    metadata = document.get("metadata") or {}
    return (str(document.get("kind")), str(metadata.get("namespace", "default")), str(metadata.get("name")))


def _lines(document: Mapping[str, Any]) -> list[str]:
    metadata = {k: v for k, v in (document.get("metadata") or {}).items() if k not in _SERVER_FIELDS}
    metadata.setdefault("namespace", "default")
    rest = {key: value for key, value in document.items() if key not in {"metadata", "apiVersion"}}
    return yaml.safe_dump({**rest, "metadata": metadata}).splitlines(keepends=True)
