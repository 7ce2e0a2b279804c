"""Configuration as a frozen, indexed value: what the translation reads."""
