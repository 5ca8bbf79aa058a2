"""numba code that solvers, dictionaries and training share.

All arrays are float32. Samples are the contiguous axis: data come in blocks of BLOCK samples, one block (width, k)
after the other in one flat array, so that a block and its codes stay in the cache. Sums over samples run in a fixed
order: the same numbers come out whatever the number of threads, models being the unit of work.
"""
