"""Where the daemon that is asked keeps its ledger, for commands that look there themselves."""

import os
from pathlib import Path

from buttermilkd.cli.doctor.asked import Installation
from buttermilkd.config.locate import configured_state_dir
from buttermilkd.places import SYSTEM


def state_dir_of(config: Path | None, installation: Installation) -> Path:
    """The state directory; whoever asks the machine's daemon would find a folder of their own by default.

    Raises:
        MisconfiguredError: a configuration file cannot be found, read or understood.
    """
    environ = {**os.environ, "STATE_DIRECTORY": str(SYSTEM.state)} if installation.sudo else os.environ
    return configured_state_dir(installation.config(config, os.environ), environ)
