"""Istio's public messages, under Istio's names."""
