"""Measures the pages on a busy school's record, beside the name service: ``make bench-web``."""
