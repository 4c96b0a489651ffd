"""How long is waited for what must come: a slow machine gets longer by ``BUTTERMILKD_TEST_PATIENCE``, in seconds."""

import os
import time
from collections.abc import Callable
from typing import Any

PATIENCE = float(os.environ.get("BUTTERMILKD_TEST_PATIENCE", "30"))


def until(condition: Callable[[], Any], what: str) -> Any:
    """The condition's value, once it is true.

    Raises:
        TimeoutError: it never was.
    """
    deadline = time.monotonic() + PATIENCE  # noqa: TID251 - the tests' own patience
    while not (value := condition()):
        if time.monotonic() > deadline:  # noqa: TID251
            raise TimeoutError(f"{what} did not happen within {PATIENCE:.0f} s")
        time.sleep(0.01)
    return value
