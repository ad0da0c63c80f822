"""The ingest tier: the server between the SDK's stream and the history in Postgres.

Frames arrive over HTTP and WebSocket (`api`), are validated and stored (`write`), later sealed (`seal`), and read
(`read`). `db` connects to Postgres, and `server` composes the whole into processes. `stepwell` never imports this
package.
"""
