"""Sidecar and gateway proxy on trio that takes Envoy v3 configuration and speaks xDS."""

__version__ = "0.1.0"
