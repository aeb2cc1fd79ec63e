"""What runs a bundle's artifacts: ONNX Runtime for the graphs, llama.cpp for the language model."""
