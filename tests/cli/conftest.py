"""What several tests of commands use."""

from short_cuts import in_short

__all__ = ["in_short"]
