"""Dual mode as a matrix: callers and callees with an SDK and with a sidecar, over every protocol; ``nox -s dualmode_matrix``."""
