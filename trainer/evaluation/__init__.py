"""`rewardplane eval`: how well a model does what it was trained for, on any file."""
