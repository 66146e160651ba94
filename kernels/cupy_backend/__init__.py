"""Backend `cupy`: the arithmetic of `native/phiid_math.h` as CUDA C++, compiled by NVRTC."""
