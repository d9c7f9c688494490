"""Images that look like a person's own few: their grounds, colours and characters, with other texts."""
