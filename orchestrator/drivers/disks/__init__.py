"""The disks of an instance: overlays, local storage and answer discs."""
