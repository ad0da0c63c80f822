"""The transport to the server: its address, connections, and the pauses between attempts. Knows no frames and no runs.

endpoint.py    URL, key, proxy and TLS as one frozen value
http.py        blocking requests
websocket.py   the WebSocket of an asyncio loop
backoff.py     pauses between attempts
reasons.py     why a server could not be reached, in plain words
"""
