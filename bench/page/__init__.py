"""The page that is made of committed results."""
