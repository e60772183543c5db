"""How bytes move. Nothing here knows what a WebSocket is."""
