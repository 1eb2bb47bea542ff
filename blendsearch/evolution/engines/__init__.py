"""Where a pool's work is done: in processes of this machine, or of others by an engine that users already run."""
