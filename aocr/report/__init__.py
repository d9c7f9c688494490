"""Floor 2: text, pictures and pages for people."""
