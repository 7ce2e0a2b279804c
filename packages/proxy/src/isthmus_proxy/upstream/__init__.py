"""Connections to endpoints: pools that decide, connections that perform."""
