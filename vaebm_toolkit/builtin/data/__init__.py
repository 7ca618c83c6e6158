"""Readers of the built-in data sets; `vaebm_toolkit.builtin.datasets` declares them.

Every reader ends in `memory.ImageDataset`, or in `gaussians.Gaussians25`. Images are kept as
uint8 and become float32 in [0, 1] when a batch is asked for.
"""
