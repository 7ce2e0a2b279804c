"""Conformance suites: what the protocols demand, asked of the running programs; see ``docs/conformance.md``."""
