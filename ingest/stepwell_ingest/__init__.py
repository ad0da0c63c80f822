"""The ingest tier: the server between the SDK's stream and the history in Postgres.

Frames come in over HTTP and WebSocket (`api`), are judged and copied (`write`), later packed (`seal`) and handed out
again (`read`); `db` holds what all of them need of Postgres. `stepwell` never imports this package.
"""
