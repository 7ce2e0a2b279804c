"""The MCP source: snapshot, sessions per stream, and the ADS service."""
