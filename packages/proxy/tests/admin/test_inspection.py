from __future__ import annotations

import json
from typing import Any

from isthmus_proxy.admin import inspection
from isthmus_proxy.admin.dispatch import Dispatcher
from isthmus_proxy.admin.response import AdminRequest


def ask(target: str, unready: dict[str, list[str]] | None = None) -> Any:
    endpoints = inspection.endpoints(lambda: [{"cert_chain": []}], lambda: unready or {})
    response = Dispatcher(endpoints).respond(AdminRequest.from_target(b"GET", target.encode()))
    assert response.status == 200
    return "".join(response.body)


def test_certificates_are_those_in_use() -> None:
    assert json.loads(ask("/certs")) == {"certificates": [{"cert_chain": []}]}


def test_what_start_up_waits_for() -> None:
    assert json.loads(ask("/init_dump")) == {}
    unready = {"listener": ["l: RDS r"], "cluster": ["c: EDS"], "other": []}
    listener, cluster = (
        {"name": "init manager listener", "target_names": ["l: RDS r"]},
        {"name": "init manager cluster", "target_names": ["c: EDS"]},
    )
    assert json.loads(ask("/init_dump", unready)) == {"unready_targets_dumps": [listener, cluster]}
    assert json.loads(ask("/init_dump?mask=listener", unready)) == {"unready_targets_dumps": [listener]}


def test_there_is_no_hot_restart() -> None:
    assert ask("/hot_restart_version") == "disabled"
