"""What can be known to be wrong with a space or a board before any work; nothing is run here."""
