"""What pruning did: its numbers, files, table and picture."""
