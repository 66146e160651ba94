"""Backend `cpu`: C++ compiled for this machine at first use."""
