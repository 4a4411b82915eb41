"""Smartoken: a self-hosted gateway that sells tokens. The map of the rooms is README.md beside this file."""

__version__ = "0.1.0"
