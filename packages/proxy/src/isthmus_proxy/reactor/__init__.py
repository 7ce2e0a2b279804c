"""The event loop of the data path and the connections in it."""
