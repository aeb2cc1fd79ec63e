"""The one tree of errors. Each says what was expected, what was found, and what to do."""

from __future__ import annotations


class UniecgError(Exception):
    """Anything this project reports to a person; the command line prints it without a traceback."""


class InputError(UniecgError):
    """A recording, file or option that cannot be used as it is."""


class BundleError(UniecgError):
    """A bundle that is missing, damaged, tampered with, or made for another version."""


class BackendError(UniecgError):
    """A requested backend, provider or precision that is not the one that would run."""


class ContextError(UniecgError):
    """More text than the language model's context holds."""


class ProfileError(UniecgError):
    """A device profile that contradicts itself or cannot be read."""


class DeviceError(UniecgError):
    """A port that cannot be opened, or a device that went away or fell silent."""
