"""Golden traces: what machines go through, as a daemon would record it, and what is decided on it."""
