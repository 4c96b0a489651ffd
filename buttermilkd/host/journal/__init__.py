"""The journal of systemd: log records and what jobs print, as entries with fields, sent by a thread of its own."""
