"""The telemetry kinds of Istio."""
