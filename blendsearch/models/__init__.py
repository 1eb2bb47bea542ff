"""The networks that a space can name, and their weights."""
