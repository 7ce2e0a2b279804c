"""The soak: mixed load with errors for as long as one likes, and a verdict on memory, file descriptors and counters."""
