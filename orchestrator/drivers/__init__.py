"""Implementations of the ports. A driver knows ports, model and errors, never the core, and no other driver.

Exceptions of libraries end here: each driver translates them into `orchestrator.errors`.
"""
