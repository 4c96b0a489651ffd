"""``python -m buttermilkd.manual PAGE``: prints buttermilkd.8, buttermilkctl.1 or buttermilkd.toml.5."""

import sys

from buttermilkd.manual.pages import PAGES

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in PAGES:  # noqa: PLR2004 - the program and its one argument
        sys.exit(f"usage: python -m buttermilkd.manual {'|'.join(PAGES)}")
    # The pages are ASCII: any other sign is written as an escape, so that no locale changes them.
    sys.stdout.write(PAGES[sys.argv[1]]())
