"""The machine that the daemon runs on: its one instance, its sockets, its log, its signals."""
