"""What ``buttermilkctl service`` does, where it cannot be run: before an installation, or when one is damaged.

    python3 -m buttermilkd.installation install|uninstall FOLDER [--dry-run] [--purge]

FOLDER is that of the programs. Needs the standard library only, and is for the whole machine.
"""

import os
import sys
from pathlib import Path

from buttermilkd.errors import ButtermilkError, Exit
from buttermilkd.installation.carrying import carry_out
from buttermilkd.installation.machine import demand_root, demand_systemd
from buttermilkd.installation.plans import Installed, installing, uninstalling
from buttermilkd.installation.targets import machine


def _main(verb: str, folder: str, *options: str) -> Exit:
    installed = Installed(Path(folder), Path(folder, "python"))
    dry_run = "--dry-run" in options
    try:
        if not dry_run:
            demand_systemd()
            demand_root(installed, verb, os.geteuid())
        if verb == "install":
            steps = installing(machine(), installed)
        else:
            steps = uninstalling(machine(), installed, purge="--purge" in options)
        carry_out(steps, print, dry_run=dry_run)
    except ButtermilkError as error:
        print(f"error: {error}", *([f"hint: {error.hint}"] if error.hint else []), sep="\n", file=sys.stderr)
        return error.exit_code
    return Exit.OK


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
