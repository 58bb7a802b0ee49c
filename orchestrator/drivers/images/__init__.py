"""The image repository, and qemu-img under limits."""
