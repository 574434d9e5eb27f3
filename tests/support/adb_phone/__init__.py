"""A phone on this machine: Android's own adbd, on an ARM64 user land under QEMU."""
