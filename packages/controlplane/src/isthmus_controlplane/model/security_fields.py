"""The supported fields of the kinds of security.istio.io; `fields` says how they are read."""

from __future__ import annotations

from isthmus_controlplane.model.fields import FieldTable, Supported

_YES = Supported()


def _leaves(*names: str) -> dict[str, Supported]:
    return dict.fromkeys(names, _YES)


_SELECTOR: FieldTable = _leaves("matchLabels")
_WITH_NOT = {
    "source": ("principals", "requestPrincipals", "namespaces", "serviceAccounts", "ipBlocks", "remoteIpBlocks", "trustDomains"),
    "operation": ("hosts", "ports", "methods", "paths"),
}  # fmt: skip


def _with_not(names: tuple[str, ...]) -> FieldTable:
    return _leaves(*names, *(f"not{name[0].upper()}{name[1:]}" for name in names))


AUTHORIZATION_POLICY: FieldTable = {
    "selector": _SELECTOR,
    "action": Supported(("ALLOW", "DENY", "AUDIT")),
    "rules": {
        "from": {"source": _with_not(_WITH_NOT["source"])},
        "to": {"operation": _with_not(_WITH_NOT["operation"])},
        "when": _leaves("key", "values", "notValues"),
    },
}
REQUEST_AUTHENTICATION: FieldTable = {
    "selector": _SELECTOR,
    "jwtRules": {
        **_leaves(
            "issuer", "audiences", "jwksUri", "jwks", "fromParams", "fromCookies", "outputPayloadToHeader",
            "forwardOriginalToken", "timeout", "spaceDelimitedClaims",
        ),
        "fromHeaders": _leaves("name", "prefix"),
        "outputClaimToHeaders": _leaves("header", "claim"),
    },
}  # fmt: skip
PEER_AUTHENTICATION: FieldTable = {
    "selector": _SELECTOR,
    "mtls": _leaves("mode"),
    "portLevelMtls": _YES,
}
