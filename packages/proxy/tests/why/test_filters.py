"""What /why says of HTTP filters."""

from __future__ import annotations

import pytest

from isthmus_proxy.http.filters.buffer import BufferConfig
from isthmus_proxy.http.filters.rbac import RbacConfig
from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.listener.model import HttpFilterConfig
from isthmus_proxy.rbac.model import Action, Anything, PathIs, Policy, Rules
from isthmus_proxy.route.model import StringMatch
from isthmus_proxy.why.filters import Asker, explain_filters

ADMIN = Policy("admin", (PathIs(StringMatch("prefix", b"/admin")),), (Anything(),))


def verdicts(path: bytes, *configs: RbacConfig | BufferConfig, disabled: bool = False) -> list[object]:
    filters = tuple(HttpFilterConfig(f"f{i}", config, disabled) for i, config in enumerate(configs))
    asker = Asker(RequestHead(b"GET", path, b"a.b", []), "10.0.0.1:1", "10.0.0.2:80", "", None)
    return [row.get("verdict") for row in explain_filters(filters, asker, None)]


@pytest.mark.parametrize(
    ("action", "path", "said"),
    [
        ("DENY", b"/admin/x", "refuses it: policy 'admin' applies"),
        ("DENY", b"/x", "lets it pass: no policy applies"),
        ("ALLOW", b"/admin", "lets it pass: policy 'admin' applies"),
        ("ALLOW", b"/x", "refuses it: no policy applies (403, rbac_access_denied_matched_policy[none])"),
    ],
)
def test_access_control_is_judged(action: Action, path: bytes, said: str) -> None:
    (verdict,) = verdicts(path, RbacConfig(Rules(action, (ADMIN,))))
    assert str(verdict).startswith(said)


def test_filters_that_cannot_be_judged_are_named_only() -> None:
    assert verdicts(b"/", BufferConfig(1), RbacConfig()) == [None, "lets everything pass"]
    assert verdicts(b"/", BufferConfig(1), disabled=True) == ["disabled here"]
