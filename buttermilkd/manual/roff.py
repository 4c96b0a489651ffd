"""The few macros of man(7) that the pages are made of, and text that means itself in them."""

import re
from collections.abc import Iterable

_SPECIAL = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti", '"': "\\(dq"}
_CODE = re.compile(r"``?([^`]+)``?")


def escaped(text: str) -> str:
    """Text on one line, every sign of which means itself."""
    line = "".join(
        _SPECIAL.get(sign, sign if sign.isascii() else f"\\[u{ord(sign):04X}]")
        for sign in " ".join(text.split())
    )
    return f"\\&{line}" if line.startswith(".") else line


def title(name: str, section: int, version: str, summary: str) -> list[str]:
    """The head of a page."""
    return [
        f'.TH {escaped(name.upper())} {section} "" "buttermilkd {version}" "buttermilkd"',
        ".nh",
        ".ad l",
        *heading("Name"),
        f"{escaped(name)} \\- {escaped(summary)}",
    ]


def heading(text: str) -> list[str]:
    return [f'.SH "{escaped(text.upper())}"']


def subheading(text: str) -> list[str]:
    return [f'.SS "{escaped(text)}"']


def paragraph(text: str) -> list[str]:
    """Filled text; what stands in backticks is bold."""
    return [".PP", _marked(text)]


def verbatim(lines: Iterable[str]) -> list[str]:
    """Lines that stay as they are, set off from the margin."""
    kept = [escaped(line) if not line.startswith(" ") else _indented(line) for line in lines]
    return [".PP", ".RS 4", ".nf", *kept, ".fi", ".RE"]


def entry(term: str, text: str) -> list[str]:
    """One term in bold, and what it means under it."""
    return [".TP", f"\\fB{escaped(term)}\\fR", _marked(text) or "\\&"]


def _marked(text: str) -> str:
    # Every second part was in backticks.
    parts = _CODE.split(" ".join(text.split()))
    return "".join(
        f"\\fB{_inner(part)}\\fR" if number % 2 else _inner(part) for number, part in enumerate(parts)
    )


def _inner(part: str) -> str:
    """Escaped, with the blanks at its ends, which join it to the next part."""
    blanks = " " if part.startswith(" ") else "", " " if part.endswith(" ") and part.strip() else ""
    return f"{blanks[0]}{escaped(part)}{blanks[1]}"


def _indented(line: str) -> str:
    stripped = line.lstrip(" ")
    return "\\ " * (len(line) - len(stripped)) + escaped(stripped)
