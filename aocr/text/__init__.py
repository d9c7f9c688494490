"""Floor 1: symbols, texts and what may be read. No pixel and no tensor."""
