"""The JSON that passes between the daemon and its children, several documents a job.

They are read and written by pydantic-core, three to four times as fast as by the standard library; what it refuses and
that one takes, halves of surrogate pairs, is left to that one.
"""

import json
from typing import Any

from pydantic_core import from_json, to_json


def packed(document: Any) -> bytes:
    """The document as JSON, in one line.

    Raises:
        TypeError, ValueError: it cannot be JSON.
    """
    try:
        return to_json(document)
    except ValueError:
        return json.dumps(document).encode()


def unpacked(text: bytes | bytearray) -> Any:
    """What this JSON says.

    Raises:
        ValueError, RecursionError: it is none.
    """
    try:
        return from_json(text)
    except ValueError:
        return json.loads(text)
