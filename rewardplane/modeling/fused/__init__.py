"""What lies between a decoder's matrix products, each in one pass over memory, on CPU.

Eager torch runs RMSNorm in six passes, a rotation in seven and SwiGLU in two; between small products that is more than
half of a step. The kernels are written in Python and compiled by numba. A row of the result depends on that row alone.
"""
