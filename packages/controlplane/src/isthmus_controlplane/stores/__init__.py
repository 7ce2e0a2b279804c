"""Where configuration comes from: each store publishes its whole state, immutable, on every change."""
