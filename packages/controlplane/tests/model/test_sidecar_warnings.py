"""Hosts that Sidecars list but nobody has."""

from __future__ import annotations

import pytest

from isthmus_controlplane.model.testing import admitted, make, service


@pytest.mark.parametrize(
    ("host", "warned"),
    [
        ("./a.shop", False), ("*/A.shop", False), ("default/a.shop", False), ("*/*", False), ("*/*.gone", False), ("~/*", False),
        ("~/b.shop", False), ("other/a.shop", True), ("./b.shop", True), ("*/b.shop", True),
    ],
)  # fmt: skip
def test_a_host_that_nobody_has_is_warned_about_and_the_sidecar_used(host: str, warned: bool) -> None:
    sidecar = make(
        "Sidecar",
        "s",
        {"egress": [{"hosts": ["./*"]}, {"port": {"number": 1, "name": "a", "protocol": "TCP"}, "hosts": [host]}]},
    )
    admission = admitted([service("a.shop"), sidecar])
    assert [problem.path for problem in admission.problems] == (["spec.egress[1].hosts[0]"] if warned else [])
    assert sidecar.key in admission.in_use
    assert not admission.held
