"""Recordings of others: from files of series to a folder of results, tables and a report."""
