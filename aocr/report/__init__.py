"""Floor 2: what is told and drawn for people."""
