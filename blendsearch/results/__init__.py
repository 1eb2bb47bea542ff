"""What jobs leave: records of one schema, the run folder, paired statistics, and the words for them."""
