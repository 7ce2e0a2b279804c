"""Explains what would be done with a request, and why not otherwise: the answers of ``/why``. Pure."""
