"""What only a GPU can prove."""
