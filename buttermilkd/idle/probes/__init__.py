"""Servers that cannot be changed: looked at from outside, and told of in the terms of those that report."""
