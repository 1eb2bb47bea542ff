"""Networks as they are shipped: ONNX, a torch.export program, a plain state dict, a folder for timm."""
