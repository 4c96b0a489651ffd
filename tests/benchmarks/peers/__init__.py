"""Other queues of Python, driven as ours is: each in an environment of its own, in its fast configuration."""
