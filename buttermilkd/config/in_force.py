"""The settings as they hold now, in one place: who holds it sees what a reload changes."""

from collections.abc import Iterator, Mapping

from buttermilkd.config.flow import FlowSettings
from buttermilkd.config.settings import Settings


class FlowsInForce(Mapping[str, FlowSettings]):
    """The configured flows. It is one object for a whole life, so that all rooms change over in the same moment."""

    def __init__(self, flows: Mapping[str, FlowSettings]) -> None:
        self._flows = dict(flows)
        self._gone: dict[str, FlowSettings] = {}

    def __getitem__(self, name: str) -> FlowSettings:
        return self._flows[name]

    def __iter__(self) -> Iterator[str]:
        # What is added or removed while somebody goes through it does not disturb them.
        return iter(tuple(self._flows))

    def __len__(self) -> int:
        return len(self._flows)

    def replace(self, flows: Mapping[str, FlowSettings]) -> None:
        self._gone = {name: flow for name, flow in (self._gone | self._flows).items() if name not in flows}
        self._flows = dict(flows)

    def last_known(self, name: str) -> FlowSettings:
        """A flow as it is or, removed while its jobs ran, as it was last.

        Raises:
            KeyError: there never was one.
        """
        return self._flows.get(name) or self._gone[name]


class InForce:
    """What a daemon works with at this moment, and what came of the last try to change it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.flows = FlowsInForce(settings.flows)
        self.problem: str | None = None
        """Why the configuration as it now stands in its files is not in force; None: the last reload was good."""
        self.needs_restart: tuple[str, ...] = ()
        """Keys that have other values in the files, and will have them here after a restart."""

    def put(self, settings: Settings) -> None:
        """Have these settings from now on."""
        self.settings = settings
        self.flows.replace(settings.flows)
