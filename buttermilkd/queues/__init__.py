"""Where jobs wait: one port, and an adapter for each kind of queue."""
