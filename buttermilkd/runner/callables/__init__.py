"""Callable flows: warm workers, and the calls in them."""
