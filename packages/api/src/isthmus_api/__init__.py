"""Protobuf messages that the Isthmus packages share."""

__version__ = "0.1.0"
