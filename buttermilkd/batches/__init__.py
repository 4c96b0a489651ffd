"""What people ask to happen to batches and jobs: create, cancel, retry."""

from buttermilkd.batches.batches import Batches
from buttermilkd.batches.creation import Caller

__all__ = ["Batches", "Caller"]
