"""Isthmus's own policies of dual mode."""
