"""Results as text: CSV and Markdown."""
