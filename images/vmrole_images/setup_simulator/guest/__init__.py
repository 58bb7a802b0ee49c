"""What plays a generalized Windows image, made from Microsoft's public documentation. It is not Windows.

The rules are pure: they work on directory trees that stand for drives, and are tested without a VM. `machine` and
`__main__` alone know the Linux below. Runs on Python 3.11 or later with the standard library only.
"""
