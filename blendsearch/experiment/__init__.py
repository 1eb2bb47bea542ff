"""What every job stands on: a space brought to life in its run folder, and the steps that jobs share."""
