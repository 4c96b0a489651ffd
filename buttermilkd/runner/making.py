"""Which lane a flow gets: processes for a command, warm workers for a callable."""

from collections.abc import Callable
from dataclasses import dataclass

from buttermilkd.clock import Clock
from buttermilkd.jobs import Outcome
from buttermilkd.runner.attempt import Attempt
from buttermilkd.runner.callables.lane import CallableLane
from buttermilkd.runner.commands import CommandLane
from buttermilkd.runner.flow import FlowSettings
from buttermilkd.runner.lanes import Lane
from buttermilkd.runner.launcher.spawner import Spawner
from buttermilkd.runner.scratch import Scratch
from buttermilkd.runner.slots import Slots
from buttermilkd.runner.timers import Timers


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneMaker:
    """What all lanes work with, and one for each flow made of it."""

    spawner: Spawner
    slots: Slots
    timers: Timers
    clock: Clock
    scratch: Scratch
    ended: Callable[[Attempt, Outcome], None]
    """Is told of each job's end."""
    changed: Callable[[], None]
    """Is called when there may be more room than before."""
    fail: Callable[[Exception], None]

    def __call__(self, flow: FlowSettings, left: Callable[[str], int]) -> Lane:
        """``left``: how many jobs of a flow still run as it was before it changed."""
        if flow.kind == "callable":
            return CallableLane(
                flow,
                spawner=self.spawner,
                slots=self.slots,
                timers=self.timers,
                clock=self.clock,
                ended=self.ended,
                changed=self.changed,
                fail=self.fail,
                left=left,
            )
        return CommandLane(
            flow,
            spawner=self.spawner,
            slots=self.slots,
            timers=self.timers,
            clock=self.clock,
            scratch=self.scratch,
            ended=self.ended,
            left=left,
        )
