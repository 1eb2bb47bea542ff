"""Data sets, their four parts, and batches of images."""
