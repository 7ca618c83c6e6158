"""NVAE as a generator plugin."""
