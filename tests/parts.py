"""Parts of a machine that some tests need: without them a developer's run skips, and continuous integration fails."""

import os

import pytest


def need(present: object, what: str) -> None:
    """Go on where the part is there; ``what`` says what is missing where it is not."""
    if not present:
        if os.environ.get("CI"):
            pytest.fail(f"missing here: {what}")
        pytest.skip(f"missing here: {what}")
