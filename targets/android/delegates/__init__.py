"""Who runs the operators of a file: XNNPACK, GPU and NPU delegates, and what that costs."""
