"""The robot's door: runs a bundle with numpy and onnxruntime alone. No torch."""
