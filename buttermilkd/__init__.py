"""Runs batches of jobs on a machine that people are also using, only while they are not using it."""

__version__ = "0.1.0"
