"""Flows to try the daemon with, over input that every machine has."""
