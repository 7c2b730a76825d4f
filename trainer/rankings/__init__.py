"""Ranked answers: what they are, and the forms in which people keep them."""
