"""Sampling from trained models, and figures that compare samples with data."""
