"""The security kinds of Istio."""
