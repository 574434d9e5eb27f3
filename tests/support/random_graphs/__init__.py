"""Random ONNX graphs: `graphs.draw(seed)`."""
