"""What the dispatcher needs of the gate and of the runner."""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from buttermilkd.bell import Bell
from buttermilkd.jobs import Ending, Job, Outcome


class Gate(Protocol):
    """What the dispatcher needs of the idleness decision."""

    changed: Bell
    """Rings when the gate opens or closes, and when the allowance grows."""

    @property
    def is_open(self) -> bool: ...

    def allowance(self) -> int | None:
        """How many jobs may run at once now; None: as many as there is room for."""


class Runner(Protocol):
    """What the dispatcher needs of the runner."""

    on_room: Callable[[], None]
    """Called when it can take more than before, or nothing any more."""

    @property
    def trouble(self) -> str | None:
        """Why it can begin nothing at all; None: it can."""

    def room(self) -> int: ...

    def rooms(self) -> Mapping[str, int]: ...

    def start(self, job: Job, ended: Callable[[Job, Outcome], None]) -> None: ...

    def recall(self) -> None: ...

    async def stop(self, job_ids: Iterable[str], ending: Ending, *, now: bool = False) -> None: ...
