"""Istio's syntax rules for the parts of a ServiceEntry (istio ``pkg/config/validation``, ``pkg/config/labels``).

istiod drops an entry that breaks one of them without telling the source, so the bridge checks first.
"""

from __future__ import annotations

import functools
import ipaddress
import re

PROTOCOLS = frozenset({"HTTP", "HTTPS", "GRPC", "GRPC-WEB", "HTTP2", "MONGO", "MYSQL", "REDIS", "TCP", "TLS", "UDP"})
"""Port protocols that Istio knows, in the spelling that the bridge publishes."""

MAX_PORT = 65535
MAX_HOST = 255
MAX_LABEL_PREFIX = 253

REMEMBERED = 65_536
"""Labels whose check is remembered: the same ones stand on many instances."""
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
_DNS_1123_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def is_dns_label(text: str) -> bool:
    """Whether the text is a DNS-1123 label: what port names and namespaces must be."""
    return _DNS_1123_LABEL.fullmatch(text) is not None


def is_host(text: str) -> bool:
    """Whether the text can be the host of a mesh service: lower-case DNS labels, the last one not all digits, no ``*``.

    Istio takes upper case and wildcards too, but upper case breaks matching later and a registry's service has one name.
    """
    labels = text.split(".")
    return len(text) <= MAX_HOST and all(map(is_dns_label, labels)) and not labels[-1].isdigit()


@functools.lru_cache(REMEMBERED)
def is_label_key(text: str) -> bool:
    """Whether the text is a label key: ``[prefix/]name``, name up to 63 characters, prefix a DNS name up to 253."""
    prefix, slash, name = text.rpartition("/")
    if slash and not (len(prefix) <= MAX_LABEL_PREFIX and _LABEL_PREFIX.fullmatch(prefix)):
        return False
    return _LABEL_NAME.fullmatch(name) is not None


@functools.lru_cache(REMEMBERED)
def is_label_value(text: str) -> bool:
    """Whether the text is a label value: empty, or as the name part of a key."""
    return not text or _LABEL_NAME.fullmatch(text) is not None


def is_ip(text: str) -> bool:
    """Whether the text is an IP address without zone or prefix length: what a STATIC endpoint must have."""
    if _IPV4.fullmatch(text) is not None:
        return True
    try:
        return ":" in text and "%" not in text and bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def is_ip_or_cidr(text: str) -> bool:
    """Whether the text is an IP address or a network: what ``addresses`` of a STATIC entry may hold."""
    try:
        return "%" not in text and bool(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return False


def is_port(number: int) -> bool:
    """Whether the number can be a port."""
    return 0 < number <= MAX_PORT
