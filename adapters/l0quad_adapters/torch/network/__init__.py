"""What reads and writes a PyTorch network: its weights, data, gradients, statistics and masks."""
