"""What every server is made of: the engine and its batcher, validation, errors, metrics and assembly."""
