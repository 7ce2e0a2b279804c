"""Hot upgrade: a new process takes listening sockets, counters and the admin port over from the one that serves."""
