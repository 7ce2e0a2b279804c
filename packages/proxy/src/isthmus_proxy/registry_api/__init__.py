"""The registry APIs of SDKs in mesh mode: applications publish and subscribe at their sidecar, which speaks for them."""
