"""The story of a run on one page, made from the files of its run folder alone."""
