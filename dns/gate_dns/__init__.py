"""Schoolgate."""
