"""Warm start: what the registries claimed, kept on disk, so that a restarted bridge serves at once what it knew."""
