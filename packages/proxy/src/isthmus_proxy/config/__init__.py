"""Configuration: Envoy v3 messages checked against what the proxy does and compiled into immutable values."""
