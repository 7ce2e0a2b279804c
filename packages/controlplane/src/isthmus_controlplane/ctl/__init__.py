"""``isthmusctl``: reads and changes the configuration of a running control plane."""
