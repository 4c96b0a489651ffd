"""Who knows everything: runs whenever the cool-down allows it, and loses no second to looking, waiting or doubt."""

from collections.abc import Iterator

from buttermilkd.config.idle import IdleSettings
from buttermilkd.idle.policy.backoff import Backoff
from buttermilkd.idle.policy.settings import Patience
from tests.benchmarks.simulation.policies import Ran, Recorder
from tests.benchmarks.simulation.world import Span, World, merged


class Oracle:
    """With the same cool-down as buttermilkd: it also lengthens where people keep coming back.

    ``adaptive=False`` keeps to the configured cool-down, whatever it costs in suspensions.
    """

    def __init__(self, *, adaptive: bool = True) -> None:
        self.name = "oracle" if adaptive else "oracle, 60 s always"
        self._adaptive = adaptive
        self._settings = IdleSettings()

    def run(self, world: World) -> Ran:
        recorder = Recorder(world)
        recorder.start(0.0)
        backoff, free_at, quiet = Backoff(), 0.0, self._settings.quiet_for
        for span, is_people in self._in_the_way(world):
            if span.start > free_at:
                recorder.start(free_at)
            backoff = self._waited(backoff, free_at, span.start, quiet)
            if recorder.runs:
                backoff = self._step(backoff, span.start, quiet, ran_for=span.start - free_at)
                recorder.stop(span.start)
            quiet = Patience.of(self._settings, backoff.factor if self._adaptive else 1).quiet_for
            free_at = max(free_at, span.end + (quiet if is_people else 0.0))
        if free_at < world.seconds:
            recorder.start(free_at)
        return recorder.end()

    def _step(self, backoff: Backoff, at: float, quiet: float, *, ran_for: float | None = None) -> Backoff:
        limit = self._settings.suspensions_per_hour
        return backoff.step(at, ran_for=ran_for, limit=limit, wait=quiet)

    def _waited(self, backoff: Backoff, start: float, end: float, quiet: float) -> Backoff:
        """Hours without a suspension shorten the waits again."""
        at = start
        while (at := at + 60.0) < end and (backoff.factor > 1 or backoff.recent):
            backoff = self._step(backoff, at, quiet)
        return backoff

    def _in_the_way(self, world: World) -> Iterator[tuple[Span, bool]]:
        """People, and other work for as long as it is taken for such."""
        settings = self._settings
        burning = merged(
            Span(burn.start + settings.foreign_cpu_busy_for, burn.end + settings.foreign_cpu_clear_for)
            for burn in world.burns
            if burn.share > settings.foreign_cpu_busy
            and burn.end - burn.start > settings.foreign_cpu_busy_for
        )
        people = [(span, True) for span in world.activity]
        return iter(sorted([*people, *((span, False) for span in burning)]))
