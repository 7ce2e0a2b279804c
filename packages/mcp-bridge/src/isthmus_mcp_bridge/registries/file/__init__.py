"""Services described by a directory of YAML files."""
