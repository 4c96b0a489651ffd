"""What an installation consists of: its units, its configuration, its manual, and where each of them goes.

``buttermilkctl service`` and the scripts that install for a whole machine share it. Standard library only, so that
``scripts/install --dry-run`` can tell what would be done before there is an environment to do it from.
"""
