"""Benchmarks: each prints its figures beside a reference measured in the same run. None of them fails a build."""
