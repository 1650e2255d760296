"""How requests reach an engine: each by HTTP, or all of them over one WebSocket where the engine has that."""
