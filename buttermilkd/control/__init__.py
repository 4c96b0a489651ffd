"""The control protocol: HTTP/1.1 and JSON over a Unix socket."""
