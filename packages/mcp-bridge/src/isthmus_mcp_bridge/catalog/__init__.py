"""Merges what several registries claim about a service into one service; pure."""
