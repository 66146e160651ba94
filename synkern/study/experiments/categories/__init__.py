"""The experiment `categories`."""
