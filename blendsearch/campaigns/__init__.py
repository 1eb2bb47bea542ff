"""The jobs, each from its settings to its run folder and report, and the Python interface."""
