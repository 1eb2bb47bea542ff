"""A blend found here and applied there."""
