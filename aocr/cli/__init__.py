"""Floor 5: the command line. Modules here import only the ground floor until a command runs."""
