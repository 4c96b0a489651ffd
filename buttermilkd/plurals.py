"""Numbers with their nouns, for every sentence that counts something."""


def count(number: int, noun: str, plural: str | None = None) -> str:
    """``1 request``, ``3,000 requests``. ``plural`` where another letter or word changes: ``1 job is``, ``2 jobs are``."""
    if number == 1:
        return f"{number:,} {noun}"
    return f"{number:,} {noun}s" if plural is None else f"{number:,} {plural}"
