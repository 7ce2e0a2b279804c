"""Registry adapters: each turns one registry into claim events."""
