"""VAEBM energy network."""
