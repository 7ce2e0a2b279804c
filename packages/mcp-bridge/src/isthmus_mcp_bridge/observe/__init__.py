"""What the bridge tells about itself: logs and metrics."""
