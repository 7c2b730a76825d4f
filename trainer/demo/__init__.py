"""`rewardplane demo`: the whole loop on one machine, on texts that people rated."""
