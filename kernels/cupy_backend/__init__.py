"""Backend `cupy`: the arithmetic of `kernels/native/phiid_math.h` as CUDA C++, compiled by NVRTC."""
