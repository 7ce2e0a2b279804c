"""The configuration of the bridge: values and the reader of the file."""
