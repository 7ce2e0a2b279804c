"""Reasons for which an endpoint is not simply healthy: one bit each, under Envoy's names (Upstream::Host::HealthFlag)."""

from __future__ import annotations

from typing import Final

FAILED_ACTIVE_HC: Final = 0x1
FAILED_OUTLIER_CHECK: Final = 0x2
FAILED_EDS_HEALTH: Final = 0x4
DEGRADED_ACTIVE_HC: Final = 0x8
DEGRADED_EDS_HEALTH: Final = 0x10
PENDING_DYNAMIC_REMOVAL: Final = 0x20
PENDING_ACTIVE_HC: Final = 0x40
EXCLUDED_VIA_IMMEDIATE_HC_FAIL: Final = 0x80
ACTIVE_HC_TIMEOUT: Final = 0x100
EDS_STATUS_DRAINING: Final = 0x200

UNHEALTHY: Final = FAILED_ACTIVE_HC | FAILED_OUTLIER_CHECK | FAILED_EDS_HEALTH | EDS_STATUS_DRAINING
"""Any of these: no requests, but in panic."""
DEGRADED: Final = DEGRADED_ACTIVE_HC | DEGRADED_EDS_HEALTH
"""Any of these, and none of the former: requests only if the healthy endpoints do not suffice."""
EXCLUDED: Final = PENDING_ACTIVE_HC | EXCLUDED_VIA_IMMEDIATE_HC_FAIL | EDS_STATUS_DRAINING
"""Any of these: not part of what availability and panic are measured against."""

FROM_EDS: Final = FAILED_EDS_HEALTH | DEGRADED_EDS_HEALTH | EDS_STATUS_DRAINING

_EDS: Final = {
    "UNHEALTHY": FAILED_EDS_HEALTH,
    "TIMEOUT": FAILED_EDS_HEALTH,
    "DRAINING": EDS_STATUS_DRAINING,
    "DEGRADED": DEGRADED_EDS_HEALTH,
}
_NAMES: Final = (
    (FAILED_ACTIVE_HC, "/failed_active_hc"),
    (FAILED_OUTLIER_CHECK, "/failed_outlier_check"),
    (FAILED_EDS_HEALTH, "/failed_eds_health"),
    (DEGRADED_ACTIVE_HC, "/degraded_active_hc"),
    (DEGRADED_EDS_HEALTH, "/degraded_eds_health"),
    (PENDING_DYNAMIC_REMOVAL, "/pending_dynamic_removal"),
    (PENDING_ACTIVE_HC, "/pending_active_hc"),
    (EXCLUDED_VIA_IMMEDIATE_HC_FAIL, "/excluded_via_immediate_hc_fail"),
    (ACTIVE_HC_TIMEOUT, "/active_hc_timeout"),
    (EDS_STATUS_DRAINING, "/eds_status_draining"),
)


def of_eds(health: str) -> int:
    """The flags that core.v3.HealthStatus stands for."""
    return _EDS.get(health, 0)


def names(flags: int) -> str:
    """The flags as ``/clusters`` shows them; ``healthy`` when there are none."""
    return "".join(name for flag, name in _NAMES if flags & flag) or "healthy"
