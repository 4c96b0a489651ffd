"""Configuration: TOML files, environment and flags into frozen settings.

Nothing is imported here, so that ``buttermilkd.config.locate`` stays cheap for the command line.
"""
