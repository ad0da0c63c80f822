"""The ingest tier: the server between the SDK's stream and the history in Postgres.

Frames arrive over HTTP and WebSocket (`api`), are checked and copied (`write`), later packed (`seal`) and read again
(`read`). `db` connects to Postgres, and `server` composes the whole into processes. `stepwell` never imports this
package.
"""
