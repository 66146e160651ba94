"""What triton compiles."""
