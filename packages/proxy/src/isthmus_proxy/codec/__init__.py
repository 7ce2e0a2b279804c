"""Wire formats as pure cores: bytes in, events out; nothing here knows sockets, clocks or tasks."""
