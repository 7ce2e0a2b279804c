"""Pure translation of the model into xDS resources, one scope at a time."""
