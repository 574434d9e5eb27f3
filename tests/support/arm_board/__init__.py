"""An ARM64 board on this machine: its user land under QEMU, in namespaces of its own."""
