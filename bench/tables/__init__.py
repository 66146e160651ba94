"""Tables that are made once and committed."""
