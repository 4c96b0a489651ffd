"""The daemon: everything put together, and its life from the start to the drain."""
