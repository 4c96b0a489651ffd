"""The client for asyncio: the blocking one in threads.

A thread for each call is simpler and surer than a second implementation of HTTP, and a call to the daemon is
rare in a program's life. A call that is cancelled breaks off its connection, so that no thread stays behind.
"""

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from os import PathLike
from typing import Any, Concatenate, ParamSpec, TypeVar

from buttermilkd.client.blocking import TIMEOUT, Client
from buttermilkd.client.creation import Created
from buttermilkd.messages import (
    BatchesView,
    BatchView,
    DeadLettersView,
    DeadLetterView,
    DeadOutcomesView,
    EventView,
    FlowsView,
    HistoryView,
    IdleView,
    InfoView,
    JobsView,
    JobView,
    ReceiptView,
    ReloadedView,
    ResultView,
    RetriedView,
    StatusView,
)

P = ParamSpec("P")
T = TypeVar("T")
END: Any = object()


class AsyncClient:
    """``Client`` with methods to await: the same names, arguments, answers and errors.

    What streams (``results``, ``log``, ``events``) is an async iterator; close it (``contextlib.aclosing``)
    where it is not read to its end.
    """

    def __init__(
        self,
        socket: str | PathLike[str] | None = None,
        *,
        config: str | PathLike[str] | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self._socket = Client(socket, config=config).socket
        self._timeout = timeout

    async def create(self, flow: str, records: Iterable[str] | None = None, **options: Any) -> Created:
        """Create a batch; ``options`` are those of ``Client.create``. ``records`` are read in a thread."""
        return await self._call(Client.create, flow, records, **options)

    async def batches(
        self,
        *,
        status: str | None = None,
        flow: str | None = None,
        include_ended: bool = False,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> BatchesView:
        return await self._call(
            Client.batches, status=status, flow=flow, include_ended=include_ended, limit=limit, cursor=cursor
        )

    async def batch(self, batch_id: str, *, wait: float | None = None) -> BatchView:
        return await self._call(Client.batch, batch_id, wait=wait)

    async def jobs(
        self, batch_id: str, *, status: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> JobsView:
        return await self._call(Client.jobs, batch_id, status=status, limit=limit, cursor=cursor)

    async def job(self, job_id: str) -> JobView:
        return await self._call(Client.job, job_id)

    def results(self, batch_id: str) -> AsyncGenerator[ResultView, None]:
        return self._stream(Client.results, batch_id)

    def log(self, item_id: str, *, follow: bool = False) -> AsyncGenerator[bytes, None]:
        return self._stream(Client.log, item_id, follow=follow)

    async def cancel(self, item_id: str, *, now: bool = False) -> ReceiptView:
        return await self._call(Client.cancel, item_id, now=now)

    async def retry(self, item_id: str, *, failed: bool = False) -> RetriedView:
        return await self._call(Client.retry, item_id, failed=failed)

    async def dead(
        self, *, flow: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> DeadLettersView:
        return await self._call(Client.dead, flow=flow, limit=limit, cursor=cursor)

    async def dead_letter(self, letter_id: str) -> DeadLetterView:
        return await self._call(Client.dead_letter, letter_id)

    async def requeue_dead(self, ids: Iterable[str]) -> DeadOutcomesView:
        return await self._call(Client.requeue_dead, ids)

    async def drop_dead(self, ids: Iterable[str]) -> DeadOutcomesView:
        return await self._call(Client.drop_dead, ids)

    async def pause(self, flow: str | None = None) -> dict[str, Any]:
        return await self._call(Client.pause, flow)

    async def resume(self, flow: str | None = None) -> dict[str, Any]:
        return await self._call(Client.resume, flow)

    async def reload(self) -> ReloadedView:
        return await self._call(Client.reload)

    def backup(self) -> AsyncGenerator[bytes, None]:
        return self._stream(Client.backup)

    async def status(self) -> StatusView:
        return await self._call(Client.status)

    async def idle(self) -> IdleView:
        return await self._call(Client.idle)

    async def idle_history(self, *, days: int | None = None) -> HistoryView:
        return await self._call(Client.idle_history, days=days)

    async def flows(self) -> FlowsView:
        return await self._call(Client.flows)

    def events(
        self, *, since: int | None = None, batch: str | None = None, follow: bool = False
    ) -> AsyncGenerator[EventView, None]:
        return self._stream(Client.events, since=since, batch=batch, follow=follow)

    async def info(self) -> InfoView:
        return await self._call(Client.info)

    async def resolve(self, prefix: str) -> list[str]:
        return await self._call(Client.resolve, prefix)

    async def get(self, path: str, query: dict[str, Any] | None = None) -> Any:
        return await self._call(Client.get, path, query)

    async def _call(
        self, method: Callable[Concatenate[Client, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        with Client(self._socket, timeout=self._timeout) as client:
            return await _in_thread(method, client, *args, **kwargs)

    async def _stream(
        self, method: Callable[Concatenate[Client, P], Iterator[T]], *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[T, None]:
        with Client(self._socket, timeout=self._timeout) as client:
            items = method(client, *args, **kwargs)
            while (item := await _in_thread(next, items, END)) is not END:
                yield item


async def _in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    import asyncio  # noqa: PLC0415 - buttermilkctl imports this package and must start without asyncio

    return await asyncio.to_thread(function, *args, **kwargs)
