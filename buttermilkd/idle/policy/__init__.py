"""The decision: pure functions of what is remembered, what is seen, the settings and the time."""
