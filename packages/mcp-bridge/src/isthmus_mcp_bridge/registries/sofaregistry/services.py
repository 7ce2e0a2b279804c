"""SOFARPC's data in SOFARegistry as entries of the book; pure.

``dataId`` is ``INTERFACE:VERSION[:UNIQUE_ID]@PROTOCOL`` (``DEFAULT`` is bolt), each item ``ip:port?weight=...&appName=...``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote_plus

from isthmus_mcp_bridge.errors import HostNameError
from isthmus_mcp_bridge.registries.book import Entry
from isthmus_mcp_bridge.registries.dubbo.dubbo_url import NodeError, parse_node_name
from isthmus_mcp_bridge.registries.dubbo.providers import PathSource, checked_url
from isthmus_mcp_bridge.registries.naming import NamingRule
from isthmus_mcp_bridge.registries.sofaregistry.messages import DataKey
from isthmus_mcp_bridge.registries.zookeeper.sofarpc import sofa_provider


def read_items(
    key: DataKey, items: Sequence[str], rule: NamingRule, ports: Mapping[str, int], registry: str, revision: str = ""
) -> Entry:
    """The entry of one dataId; an item that cannot be used is a problem of it."""
    name, _, protocol = key.data_id.rpartition("@")
    interface, _, rest = (name or key.data_id).partition(":")
    _, _, unique = rest.partition(":")
    scheme = "bolt" if protocol in ("", "DEFAULT") else protocol
    source = PathSource(registry, key.data_id)
    providers, problems = [], []
    for item in sorted(items):
        text = item if "://" in item else f"{scheme}://{item}"
        if unique and "uniqueId=" not in text:
            text += f"{'&' if '?' in text else '?'}uniqueId={unique}"
        try:
            url = checked_url(parse_node_name(quote_plus(text)))
            providers.append(sofa_provider(url, interface, f"{key.data_id} {item.partition('?')[0]}", rule, ports))
        except (NodeError, HostNameError) as error:
            problems.append(source.problem(key.group, item, f"{error}; the item is left out"))
    return Entry(tuple(providers), tuple(problems), revision=revision)
