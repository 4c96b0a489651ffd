"""For web servers: each process reports what its users do, so that jobs run only while there is nothing to report.

Standard library only, and light to import. Nothing here can slow a request, block it or make it fail: the path of a
request touches a few counters, and a thread of its own, one for each process, owns the connection to the daemon.
Whether a daemon is there makes no difference to the web server. Where there are no Unix sockets as Linux has them,
on macOS and Windows, nothing is reported.

Nothing is imported here, so that a web server gets no more than the module for its framework.
"""
