"""What takes part in other packages' loops; each module needs its package, which is imported there alone."""
