"""May jobs run?

What web servers report (``activity``) and what the machine does (``load``) go in; ``policy`` decides; ``gate``
carries it out.
"""
