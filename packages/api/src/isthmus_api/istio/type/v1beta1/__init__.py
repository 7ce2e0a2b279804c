"""Package istio.type.v1beta1."""
