"""Reads legacy service registries, merges their entries and serves them over MCP."""

__version__ = "0.1.0"
