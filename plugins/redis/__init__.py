"""The Limiter on Redis."""
