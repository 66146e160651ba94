"""What nodes do in a language model: edits of them and of their weights, and what follows."""
