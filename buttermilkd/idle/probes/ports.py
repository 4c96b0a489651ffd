"""Who is connected to a port of this machine, in the kernel's word."""

import asyncio
from collections.abc import Collection, Iterable
from pathlib import Path

from buttermilkd.idle.probes.base import ProbeFailedError, Seen

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_ESTABLISHED = "01"


class PortProbe:
    """Counts the connections established to some ports, in the network that this process is in."""

    kind = "port"

    def __init__(self, name: str, ports: Collection[int], tables: Iterable[Path] = _TABLES) -> None:
        self.name = name
        self.target = (name, *ports)
        self._suffixes = tuple(f":{port:04X}" for port in ports)
        self._tables = tuple(tables)
        self._known: frozenset[str] = frozenset()
        self._total = 0

    async def look(self) -> Seen:
        """Count once: in a thread, since the tables are long where connections are many.

        Raises:
            ProbeFailedError: the kernel does not show them.
        """
        try:
            connected = await asyncio.to_thread(self._connected)
        except OSError as error:
            raise ProbeFailedError(f"{error.filename}: {error.strerror}") from error
        new, self._known = connected - self._known, connected
        self._total += len(new)
        return Seen(len(connected), self._total, used=bool(new))

    def _connected(self) -> frozenset[str]:
        """Both ends of each connection. Raises OSError."""
        found = set()
        for table in self._tables:
            try:
                lines = table.read_text().splitlines()[1:]
            except FileNotFoundError:  # a kernel without IPv6
                if table == self._tables[0]:
                    raise
                continue
            for line in lines:
                _, local, remote, state, *_ = line.split(None, 4)
                if state == _ESTABLISHED and local.endswith(self._suffixes):
                    found.add(f"{local} {remote}")
        return frozenset(found)
