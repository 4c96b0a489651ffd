"""What all tests need."""

import signal

# Whoever starts the tests in the background of a shell has interrupts ignored, which all their children inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
