"""The network port: libvirt networks, nftables guards, the address of a VIP."""
