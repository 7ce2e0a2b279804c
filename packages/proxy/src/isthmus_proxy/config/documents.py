"""Configuration files as plain values: YAML or JSON, with keys that occur twice refused. The only reader of files."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from isthmus_proxy.config.yaml_bounds import check_bounds
from isthmus_proxy.errors import ConfigError

MAX_BYTES = 64 * 1024 * 1024  # beyond any real bootstrap file; keeps a wrong path (a log, a device) from filling memory

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where PyYAML was built with it


class _UniqueKeys(_Loader):  # type: ignore[misc]
    """A safe loader that refuses duplicate keys and leaves dates as the text they are."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    line = key.start_mark.line + 1
                    raise ConfigError(f"line {line}", key.value, "key occurs twice in one mapping; keep one of them")
                seen.add(key.value)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping


_UniqueKeys.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def read(path: Path) -> dict[str, Any]:
    """Return the mapping that the file at ``path`` holds. Raises ConfigError whose origin is the path."""
    try:
        return parse(_text(path), is_json=path.suffix == ".json")
    except ConfigError as error:
        error.origin = str(path)
        raise


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError("file", "", f"cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise ConfigError("file", "", f"is larger than {MAX_BYTES} bytes; is it a configuration?")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError("file", "", f"is not UTF-8 text (byte {error.start})") from error


def parse(text: str, *, is_json: bool) -> dict[str, Any]:
    """Return the mapping that ``text`` holds; text that begins with a brace is taken for JSON too."""
    try:
        document = _parse_json(text) if is_json or text.lstrip()[:1] == "{" else _parse_yaml(text)
    except RecursionError:
        raise ConfigError("file", "", "is nested too deeply") from None
    if not isinstance(document, dict):
        kind = "nothing" if document is None else type(document).__name__
        raise ConfigError("file", "", f"holds {kind}, not a mapping with fields such as static_resources")
    return document


def _parse_yaml(text: str) -> Any:
    try:
        check_bounds(text)
        return yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 - derived from the safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}" if mark else "file"
        raise ConfigError(line, "", f"is not YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError("file", "", f"is not YAML: {error}") from error


def _parse_json(text: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigError(_lines(text, twice), twice, "key occurs twice in one object; keep one of them")
        return mapping

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise ConfigError(f"line {error.lineno}", "", f"is not JSON: {error.msg}") from error


def _lines(text: str, key: str) -> str:
    """Where ``key`` stands in JSON text; the decoder does not tell, so every line that has it is named."""
    pattern = re.compile(re.escape(json.dumps(key)) + r"\s*:")
    return "line " + ", ".join(str(text.count("\n", 0, found.start()) + 1) for found in pattern.finditer(text))
