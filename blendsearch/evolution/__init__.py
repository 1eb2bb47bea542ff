"""Genomes, the algorithms that propose them, what they are judged by, and the ledger of every trial."""
