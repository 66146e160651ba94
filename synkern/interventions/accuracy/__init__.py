"""Accuracy on tasks with nodes noised or taken out."""
