"""What web servers report of their users, over a Unix socket."""
