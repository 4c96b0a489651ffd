"""Gate → queue → runner → queue: the one loop that everything else exists for."""

from buttermilkd.dispatcher.dispatcher import LAST_PATIENCE, Dispatcher

__all__ = ["LAST_PATIENCE", "Dispatcher"]
