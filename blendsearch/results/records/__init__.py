"""The schema of every record: returned by a job, written into its run folder, read by reports and command line."""
