"""What nginx says of itself: the page of its module ``stub_status``.

Source: nginx.org/en/docs/http/ngx_http_stub_status_module.html.
"""

import re

import aiohttp

from buttermilkd.idle.probes.base import ProbeFailedError, Seen

TIMEOUT = 2.0
_PAGE = re.compile(
    r"Active connections: \d+\s+server accepts handled requests\s+\d+ \d+ (?P<requests>\d+)\s+"
    r"Reading: (?P<reading>\d+) Writing: (?P<writing>\d+) Waiting: \d+",
    re.ASCII,
)
_LONGEST = 4096


class NginxProbe:
    """Asks one nginx. What it asks is a request like others to nginx, and does not count here."""

    kind = "nginx"

    def __init__(self, url: str) -> None:
        """``url`` is where ``stub_status`` answers, such as ``http://127.0.0.1:8080/nginx_status``."""
        self.name = "nginx"
        self._url = url
        self._asked = 0
        self._started: int | None = None
        """Requests before the first look, or before nginx began to count anew."""
        self._total = 0

    async def look(self) -> Seen:
        """Ask once.

        Raises:
            ProbeFailedError: it does not answer, or not with that page.
        """
        found = _PAGE.search(await self._page())
        if found is None:
            raise ProbeFailedError(f"{self._url} is no page of stub_status")
        counted = int(found["requests"])
        self._asked += 1
        if self._started is None or counted < self._started + self._asked:
            # The first look, or nginx has been started again.
            self._started, self._asked = counted - 1, 1
        total = counted - self._started - self._asked
        used, self._total = total > self._total, total
        # The answer itself is being written.
        in_flight = int(found["reading"]) + int(found["writing"]) - 1
        return Seen(max(0, in_flight), total, used=used)

    async def _page(self) -> str:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        try:
            # A connection of its own each time: one that is kept open would be one more that others see.
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(self._url) as answer:
                if answer.status != 200:  # noqa: PLR2004 - a name would say no more
                    raise ProbeFailedError(f"{self._url} answers {answer.status} {answer.reason}")
                return (await answer.content.read(_LONGEST)).decode("ascii", "replace")
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            raise ProbeFailedError(f"{self._url}: {_words(error)}") from error


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT:g} s"
    cause = getattr(error, "os_error", None)
    return getattr(cause, "strerror", None) or str(error)
