"""The hypervisor port: domains over libvirt, watched through their QMP monitors."""
