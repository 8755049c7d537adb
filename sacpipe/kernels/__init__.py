"""Fused C++ kernels of the native engine: compiled on this machine, cached, loaded with ctypes."""
