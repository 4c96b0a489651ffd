"""Days of a machine and its people in seconds: traces with seeds, and policies that decide on them."""
