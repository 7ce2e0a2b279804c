"""Package istio.security.v1beta1."""
