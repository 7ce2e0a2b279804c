"""Starts real programs (ours and peers) for integration tests, the demo and the benchmarks, and talks to them."""
