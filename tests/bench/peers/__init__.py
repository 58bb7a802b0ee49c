"""vmrole beside the tools that people reset a machine with: `make bench-peers`. Docs: docs/peers.md."""
