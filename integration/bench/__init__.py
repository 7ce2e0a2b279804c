"""Benchmarks of Isthmus and its peers on the same load, side by side (``nox -s bench -- SUITE``)."""
