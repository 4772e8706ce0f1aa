"""Captions over HTTP: `capjax serve`. `capjax.serve.app` makes the ASGI application of one or several models."""
