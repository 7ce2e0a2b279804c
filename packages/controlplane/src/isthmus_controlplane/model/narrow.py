"""From what a node says about itself to what of it matters now, so that nodes that get the same share one scope."""

from __future__ import annotations

import dataclasses

from isthmus_controlplane.model.inbound import InstanceIndex
from isthmus_controlplane.model.model import Model
from isthmus_controlplane.model.scope import Scope


def narrow(model: Model, scope: Scope, instances: InstanceIndex) -> Scope:
    """Drop labels and a place that nothing looks at, and put the ports of its services in the place of a node's addresses.

    Args:
        model: the configuration.
        scope: as the node says it.
        instances: has followed the services of ``model``.
    """
    if scope == dataclasses.replace(scope, labels=(), addresses=(), locality="", cluster="", client_files=None):
        return scope
    sidecar = scope.kind == "sidecar"
    return dataclasses.replace(
        scope,
        labels=tuple(
            pair for pair in scope.labels if pair in model.by_label.selecting or pair[0] in model.compared_labels
        ),
        addresses=(),
        inbound=sidecar and bool(scope.addresses),
        ports=instances.ports(scope.addresses) if sidecar else (),
        client_files=scope.client_files if model.uses_mutual_tls else None,
        locality=scope.locality if model.considers_locality else "",
        cluster=scope.cluster if model.by_label.traces else "",
    )
