"""Which line of a TOML text each key stands on; the parser itself does not tell."""

import re

KeyPath = tuple[str, ...]

_PART = re.compile(r"""[ \t]*("(?:\\.|[^"\\\n])*"|'[^'\n]*'|[A-Za-z0-9_-]+)[ \t]*""")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_REST_OF_LINE = re.compile(r"[^\n]*")
_VALUE_PART = re.compile(
    r'''"""(?:\\.|[^\\])*?"{3,5}'''
    r"""|'''.*?'{3,5}"""
    r'''|"(?:\\.|[^"\\\n])*"'''
    r"""|'[^'\n]*'"""
    r"""|\#[^\n]*|[\[{]|[\]}]|\n|[^"'\#\[\]{}\n]+""",
    re.DOTALL,
)


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line, from 1, of each table header and key in a valid TOML text.

    The keys in an inline table are left out: their line is that of the key it is the value of, or a later
    one. Where a table is named several times, the first counts; elements of an array of tables share a path.
    """
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    position, line, counted = 0, 1, 0
    while (position := _end(_BLANK, text, position)) < len(text):
        line += text.count("\n", counted, position)
        counted = position
        header = text[position] == "["
        start = position + (2 if text.startswith("[[", position) else 1) if header else position
        key, position = read_key(text, start)
        if not key:
            break
        if header:
            table = key
            position = _end(_REST_OF_LINE, text, position)
        else:
            position = _skip_value(text, position)
        path = key if header else table + key
        for length in range(1, len(path) + 1):
            lines.setdefault(path[:length], line)
    return lines


def read_key(text: str, position: int = 0) -> tuple[KeyPath, int]:
    """The dotted key at ``position`` and where it ends; an empty one where there is none."""
    parts: list[str] = []
    while match := _PART.match(text, position):
        parts.append(_unquoted(match[1]))
        position = match.end()
        if not text.startswith(".", position):
            return tuple(parts), position
        position += 1
    return (), position


def _unquoted(part: str) -> str:
    if part[0] == "'":
        return part[1:-1]
    if part[0] != '"':
        return part
    import tomli  # noqa: PLC0415 - the command line seldom needs it

    try:
        return str(tomli.loads(f"key = {part}")["key"])
    except tomli.TOMLDecodeError:
        return part


def _skip_value(text: str, position: int) -> int:
    """Where the value that follows the equals sign at ``position`` ends."""
    depth = 0
    while match := _VALUE_PART.match(text, position):
        position = match.end()
        if match[0] in "[{":
            depth += 1
        elif match[0] in "]}":
            depth -= 1
        elif match[0] == "\n" and not depth:
            break
    return position


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position
