"""Instructions of the GPU kernels, counted in their machine code, and a model of their time."""
