"""The administration endpoint on loopback."""
