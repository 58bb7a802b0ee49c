"""A service with an instance on the micro image, for who looks at what a user does with it."""

from __future__ import annotations

WEB = "web-0.shop"
SERVICE = """service: shop
roles:
  web:
    image: micro
    instances: 1
    size: {vcpus: 1, memory: 128 MiB}
    localStorage: {cache: {size: 32 MiB}}
    setup: {within: 10 min}
    ready: {within: 10 min}
"""
