"""Writes what both sides of an encoder case start from: a random classifier in Transformers' layout and random token ids.

Reads a list of {"folder", "hidden", "layers", "heads", "inner", "seq", "rows"} from the file that is named.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from transformers import BertConfig, BertForSequenceClassification

# Small, so that the table does not weigh more than the layers.
VOCABULARY = 1000
CLASSES = 24


def write(shape):
    folder = Path(shape["folder"])
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=shape["hidden"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        intermediate_size=shape["inner"],
        max_position_embeddings=max(512, shape["seq"]),
        num_labels=CLASSES,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    ids = torch.randint(1, VOCABULARY, (shape["rows"], shape["seq"])).tolist()
    labels = torch.randint(0, CLASSES, (shape["rows"],)).tolist()
    (folder / "input.json").write_text(json.dumps({"ids": ids, "labels": labels, "classes": CLASSES}), encoding="utf-8")


if __name__ == "__main__":
    for shape in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        write(shape)
