"""What the machine does: measured, never judged here."""
