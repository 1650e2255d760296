"""What queue and worker cost per request and per token, against other proxies in front of the same fake engine."""
