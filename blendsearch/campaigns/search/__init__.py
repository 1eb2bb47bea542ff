"""The search campaign: its parts in the order in which they run, see `run`."""
