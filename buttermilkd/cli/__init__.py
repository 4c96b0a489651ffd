"""``buttermilkctl``: parse, ask the daemon, print."""

from buttermilkd.cli.program import main

__all__ = ["main"]
