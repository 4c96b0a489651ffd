"""What is replaced in a command's arguments: ``{record_id}`` and ``{param:NAME}``, and nothing else.

A single word in braces that is neither is refused as a likely mistake; doubled braces, ``{{word}}``, stand for
``{word}`` itself. Everything else is left as it is: ``{}``, ``${HOME}``, ``{"a": {"b": 1}}``.
"""

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

_WORD = r"[A-Za-z_][\w-]*(?::[\w.-]*)?"
_BRACES = re.compile(rf"\{{\{{(?P<literal>{_WORD})\}}\}}|(?<!\$)\{{(?P<name>{_WORD})\}}")


def check(argument: str) -> None:
    """Accept an argument of a flow's command.

    Raises:
        ValueError: it holds a word in braces that would not be replaced.
    """
    for match in _BRACES.finditer(argument):
        name = match["name"]
        if name is None or name == "record_id" or (name.startswith("param:") and name != "param:"):
            continue
        word, _, parameter = name.partition(":")
        close = get_close_matches(word, ("record_id", "param"), n=1)
        guess = {"record_id": "{record_id}", "param": f"{{param:{parameter or 'NAME'}}}"}
        mend = f"did you mean {guess[close[0]]}? (" if close else "("
        raise ValueError(
            f"holds {{{name}}}, which nothing replaces; {mend}{{record_id}} and {{param:NAME}} are known; "
            f"write {{{{{name}}}}} for the text itself)"
        )


def fill(argument: str, record_id: str, parameters: Mapping[str, Any]) -> str:
    """``argument`` for one job. A parameter that is not text is written as JSON.

    Raises:
        KeyError: a parameter that it names does not exist; the key is the parameter's name.
    """

    def replacement(match: re.Match[str]) -> str:
        if match["literal"] is not None:
            return f"{{{match['literal']}}}"
        word, _, parameter = match["name"].partition(":")
        if word == "record_id" and not parameter:
            return record_id
        if word != "param":
            return match[0]
        value = parameters[parameter]
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    return _BRACES.sub(replacement, argument)
