"""Errors of the control plane, by who can mend them."""


class ControlPlaneError(Exception):
    """Base of every error that the control plane raises on purpose."""


class ConfigError(ControlPlaneError):
    """The command line, the environment or a setting is wrong: the operator mends it."""


class StoreError(ControlPlaneError):
    """A store cannot be read or written: the message names it and says what to do."""
