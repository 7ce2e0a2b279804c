"""The full stack in containers: what runs in them, and the play that proves it (``nox -s compose``)."""
