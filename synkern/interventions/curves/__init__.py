"""More and more nodes taken out: orders, what is measured, curves, what they say."""
