"""Header mutations of one level: values are computed first, then headers leave, are overwritten and are added, as in Envoy."""

from __future__ import annotations

from isthmus_proxy.http.message import Headers
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.route.model import HeaderEdit, HeaderEdits


def apply(edits: HeaderEdits, headers: Headers, info: StreamInfo) -> None:
    """Change ``headers`` in place. ``info`` feeds the format commands of the values."""
    if edits.remove:
        headers[:] = [header for header in headers if header[0] not in edits.remove]
    added: Headers = []
    overwritten: Headers = []
    for edit in edits.add:
        value = edit.value if edit.render is None else edit.render(info)
        if value or edit.keep_empty_value:
            _sort_in(edit, value, headers, added, overwritten)
    for name, value in overwritten:
        headers[:] = [header for header in headers if header[0] != name]
        headers.append((name, value))
    headers += added


def _sort_in(edit: HeaderEdit, value: bytes, headers: Headers, added: Headers, overwritten: Headers) -> None:
    action, name = edit.append_action, edit.name
    if action == "APPEND_IF_EXISTS_OR_ADD":
        added.append((name, value))
    elif action == "OVERWRITE_IF_EXISTS_OR_ADD":
        overwritten.append((name, value))
    elif any(header[0] == name for header in headers) == (action == "OVERWRITE_IF_EXISTS"):
        (overwritten if action == "OVERWRITE_IF_EXISTS" else added).append((name, value))
