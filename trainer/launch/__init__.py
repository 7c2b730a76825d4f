"""Runs a trainer as the process of a Kubernetes pod."""
