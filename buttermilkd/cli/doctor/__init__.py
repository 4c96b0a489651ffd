"""``doctor``: what is wrong with this installation, and the mend. A module for each subject."""

from buttermilkd.cli.doctor.command import doctor

__all__ = ["doctor"]
