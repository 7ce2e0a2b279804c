"""The Mesh Configuration Protocol."""
