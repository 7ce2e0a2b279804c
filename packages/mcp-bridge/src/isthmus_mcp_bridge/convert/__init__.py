"""Merged services as Istio resources; pure."""
