"""What a campaign is going to cost and what speaks against it, known before its work."""
