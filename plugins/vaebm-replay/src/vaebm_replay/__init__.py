"""Replay buffer."""
