"""Which address of an instance SDK consumers and mesh consumers are shown: its application's own or its sidecar's."""
