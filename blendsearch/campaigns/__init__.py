"""The jobs of the product, run folders and resume."""
