"""The web page on which people judge filters, and on which a finished campaign explains its choice."""
