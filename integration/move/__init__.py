"""The move under load: instances of one service go from SDK to mesh and back while consumers of both kinds call."""
