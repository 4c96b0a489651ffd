"""The child program that starts the jobs' processes, and the daemon's end of it."""
