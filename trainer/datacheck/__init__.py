"""`rewardplane data`: what a file of rankings holds, before anything is trained on it."""
