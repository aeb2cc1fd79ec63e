"""The `uniecg` command. Nothing heavy is imported before a command needs it."""

from uniecg_runtime.cli.app import main

__all__ = ["main"]
