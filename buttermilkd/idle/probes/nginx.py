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
        self.target = url
        self._url = url
        self._counted: int | None = None
        """Requests so far in nginx's count, with what was asked; None before the first look."""
        self._total = 0

    async def look(self) -> Seen:
        """Ask once.

        Raises:
            ProbeFailedError: it does not answer, or not with that page.
        """
        found = _PAGE.search(await self._page())
        if found is None:
            raise ProbeFailedError(f"{self._url} is no page of stub_status")
        counted, before = int(found["requests"]), self._counted
        self._counted = counted
        if before is None:
            before = counted - 1  # what came before the first look is not known
        elif counted <= before:
            before = 0  # nginx has been started again
        new = counted - before - 1  # all but this one
        self._total += new
        # The answer itself is being written.
        in_flight = int(found["reading"]) + int(found["writing"]) - 1
        return Seen(max(0, in_flight), self._total, used=new > 0)

    async def _page(self) -> str:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        try:
            # A connection of its own each time: one that is kept open would be one more that others see.
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(
                    self._url, allow_redirects=False
                ) as answer,  # each would be a request that counts
            ):
                if answer.status != 200:  # noqa: PLR2004 - a name would say no more
                    to = f" to {answer.headers['Location']}" if "Location" in answer.headers else ""
                    raise ProbeFailedError(f"{self._url} answers {answer.status} {answer.reason}{to}")
                page = b""
                async for piece in answer.content.iter_any():
                    page += piece
                    if len(page) > _LONGEST:
                        break
                return page.decode("ascii", "replace")
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            raise ProbeFailedError(f"{self._url}: {_words(error)}") from error


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT:g} s"
    cause = getattr(error, "os_error", None)
    return getattr(cause, "strerror", None) or str(error)
