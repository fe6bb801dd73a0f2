"""Writes the network of a folder with mean pooling as an ONNX file, and the tokenizer beside it."""

import os
import shutil
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from transformers import AutoModel


class Embedder(torch.nn.Module):
    def __init__(self, folder):
        super().__init__()
        self.model = AutoModel.from_pretrained(folder, dtype=torch.float32, add_pooling_layer=False)

    def forward(self, ids, mask):
        """[batch, seq] to [batch, hidden]."""
        hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def main(folder, out):
    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "tokenizer.json", out)
    # With padding, so that the mask is not optimised away.
    mask = torch.ones(3, 9, dtype=torch.long)
    mask[1, 5:] = 0
    batch, seq = torch.export.Dim("batch"), torch.export.Dim("seq")
    shapes = {name: {0: batch, 1: seq} for name in ("ids", "mask")}
    model = Embedder(folder).eval()
    torch.onnx.export(
        model,
        (torch.ones_like(mask), mask),
        out / "model.onnx",
        input_names=["ids", "mask"],
        output_names=["vectors"],
        dynamic_shapes=shapes,
        dynamo=True,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
