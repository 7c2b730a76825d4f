"""What runs on a GPU alone: kernels (Triton), and decoders of known families without transformers' modules."""
