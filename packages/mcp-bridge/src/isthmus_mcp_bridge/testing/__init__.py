"""Doubles that implement the bridge's own interfaces, and the conformance suite that every registry adapter passes."""
