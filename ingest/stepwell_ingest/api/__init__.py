"""HTTP and WebSocket: what the outside sees of the server. No SQL and no rules here; those are behind `write/`."""
