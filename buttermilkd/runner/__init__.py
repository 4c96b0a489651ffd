"""One job as one process or as one call in a warm worker: limits, priority, output, cancel, suspend."""
