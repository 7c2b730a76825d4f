"""The servers: a reward model, a frozen reference or a policy checkpoint behind gRPC."""
