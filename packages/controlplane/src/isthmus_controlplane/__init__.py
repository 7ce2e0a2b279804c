"""xDS control plane that takes Istio configuration."""

__version__ = "0.1.0"
