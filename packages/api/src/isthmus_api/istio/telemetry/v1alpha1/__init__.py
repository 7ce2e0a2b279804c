"""Package istio.telemetry.v1alpha1."""
