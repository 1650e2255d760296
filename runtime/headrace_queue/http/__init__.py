"""The HTTP/1.1 server of the token path: asyncio protocols, httptools, and no task or framework for a request.

What it does not serve it hands over, connection and all, to the aiohttp application on the same port.
"""
