"""The balancer port: HAProxy, run and supervised."""
