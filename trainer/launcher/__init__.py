"""Training jobs and promotions on Kubernetes, from a command line. Imports no torch."""
