"""How easily English prose reads, by the formula of Rudolf Flesch. Any interpreter from Python 3.9 on."""

from __future__ import annotations

import re

FEWEST_WORDS = 100
"""Flesch counted samples of 100 words; of less, the figure says nothing."""

_WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)?")
_SENTENCE_END = re.compile(r"[.!?:](?=\s|$)|\n\s*\n")
_EXAMPLE = re.compile(r"^\s*(?:>>>|\.\.\. ).*$", re.MULTILINE)
_VOWELS = re.compile(r"[aeiouy]+")
_SILENT_END = re.compile(
    r"(?:[aeiouyl]l|[^aeiouyl])e$"  # line, module, but not simple
    r"|(?:[aeiouyl]l|[^aeiouyltd])ed$"  # parsed, called, but not added
    r"|(?:[aeiouyl]l|[^aeiouylcghsxz])es$"  # makes, files, but not classes
)


def reading_ease(prose: str) -> float | None:
    """Flesch's reading ease: 100 is very easy, 60 plain English, under 30 very hard. None: too few words.

    ``206.835 - 1.015 * words per sentence - 84.6 * syllables per word``, from R. Flesch, "A new readability
    yardstick", Journal of Applied Psychology 32(3), 1948, pp. 221-233.
    """
    found = words(prose)
    if len(found) < FEWEST_WORDS:
        return None
    per_sentence = len(found) / len(sentences(prose))
    per_word = sum(map(syllables, found)) / len(found)
    return 206.835 - 1.015 * per_sentence - 84.6 * per_word


def words(prose: str) -> list[str]:
    """Its words, without lines of interactive examples."""
    return _WORD.findall(_EXAMPLE.sub("", prose))


def sentences(prose: str) -> list[str]:
    """Its sentences; a blank line and a colon end one, as the full stop does. Only those that hold a word."""
    return [part for part in _SENTENCE_END.split(_EXAMPLE.sub("", prose)) if _WORD.search(part)]


def syllables(word: str) -> int:
    """About how many syllables an English word has: its groups of vowels, but not a silent last one."""
    lower = word.lower()
    return max(1, len(_VOWELS.findall(lower)) - bool(_SILENT_END.search(lower)))
