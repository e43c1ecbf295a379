"""The exercises as they are handed out: a forward pass, and pullbacks to be filled in."""
