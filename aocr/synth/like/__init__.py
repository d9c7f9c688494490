"""Imitating a user's images: their backgrounds, colours and characters, with other texts."""
