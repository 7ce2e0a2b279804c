"""A small shop on one machine: registries, bridge, control plane, sidecars, a real Envoy, load, and changes under load."""
