"""Finding fonts, inspecting what each really draws, and choosing one for a text."""
