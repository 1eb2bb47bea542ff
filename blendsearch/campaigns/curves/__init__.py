"""The scarce-data scenario: accuracy against the share removed, without retraining."""
