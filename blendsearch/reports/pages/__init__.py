"""One module a page: from the records of a run to the words of its template."""
