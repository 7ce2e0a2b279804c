"""What sidecars publish for their applications: a stream is a lease, and what it names are instances of services."""
