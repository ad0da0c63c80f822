"""HTTP and WebSocket: the server as clients see it. SQL and the rules for frames live elsewhere, in `read` and
`write`."""
