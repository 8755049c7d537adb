"""The HTTP server of a robot: serves a bundle with numpy and onnxruntime alone. No torch."""
