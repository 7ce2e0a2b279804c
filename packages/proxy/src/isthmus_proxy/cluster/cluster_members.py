"""What others than its balancer read of a cluster's endpoints."""

from __future__ import annotations

from typing import Protocol

from isthmus_proxy.cluster.endpoint import Endpoint


class ClusterMembers(Protocol):
    """A cluster as ``zone_aware`` sees it."""

    endpoints: dict[tuple[str, int], Endpoint]

    @property
    def revision(self) -> int:
        """Rises with every change of the endpoints and of their health."""
