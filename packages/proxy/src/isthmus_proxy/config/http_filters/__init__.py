"""Compilers of HTTP filters: one module a filter, imported when a configuration names it."""
