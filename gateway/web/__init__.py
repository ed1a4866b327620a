"""What the APIs over HTTPS share: aiohttp behind the gateway's own TLS, and errors as problems."""
