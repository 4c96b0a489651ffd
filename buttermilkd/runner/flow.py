"""What the runner needs to know of a flow; the configuration's settings have this shape."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol


class FlowSettings(Protocol):
    """One configured flow. Durations are seconds, sizes bytes."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str:
        """``command`` or ``callable``."""

    @property
    def command(self) -> Sequence[str] | None: ...

    @property
    def entrypoint(self) -> str | None:
        """``package.module:function`` of a callable."""

    @property
    def python(self) -> str:
        """The interpreter of a callable's workers."""

    @property
    def workers(self) -> int: ...

    @property
    def directory(self) -> Path:
        """Where it runs; put first on a worker's ``sys.path``."""

    @property
    def timeout(self) -> float | None:
        """Running time allowed to one attempt; None: no limit."""

    @property
    def grace(self) -> float:
        """Between SIGTERM and SIGKILL."""

    @property
    def concurrency(self) -> int | None:
        """Of a command: jobs at once; of a callable: calls at once in one worker."""

    @property
    def on_busy(self) -> str:
        """What happens to its running jobs when a user arrives: ``auto``, ``finish``, ``suspend`` or ``requeue``."""

    @property
    def restartable(self) -> bool:
        """A job may be ended and begun again."""

    @property
    def suspend_max(self) -> float | None:
        """Seconds that a job stays suspended before it makes room; None: as configured for all."""

    @property
    def env(self) -> Mapping[str, str]: ...

    @property
    def env_files(self) -> Mapping[str, Path]:
        """Variables whose values are files' contents: secrets."""

    @property
    def output_limit(self) -> int: ...

    @property
    def result_limit(self) -> int: ...

    def limit(self, daemon_concurrency: int) -> int:
        """How many of its jobs may run at once on a host that runs ``daemon_concurrency`` jobs at once."""
