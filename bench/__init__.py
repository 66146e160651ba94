"""The benchmark suite: what synkern computes how fast, how exactly, and beside what."""
