"""Several finished studies side by side: their profiles over depth, and one page about them."""
