"""Ranking by people: the items, the store of their rankings, the page, and the round trip to other tools."""
