"""What the proxy does before it has too much to do: monitors of resources, and actions at their watermarks."""
