"""The man pages, made of what ``--help`` prints and of the commented configuration: there is no second text to keep.

``python -m buttermilkd.manual PAGE`` prints one of them.
"""
