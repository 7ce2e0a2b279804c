"""What joins every translation without being translated: Envoy resources written by hand, and secrets from files."""
