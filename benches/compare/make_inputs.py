"""Writes what both sides of a case start from: a random classifier or GPT-2 in Transformers' layout and random token ids.

Reads a list of {"network", "folder", "hidden", "layers", "heads", "inner", "seq", "rows"} from the file that is named.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

# Small, so that the table does not weigh more than the layers.
VOCABULARY = 1000
CLASSES = 24
# The letters of nanoGPT's Shakespeare.
LETTERS = 65


def bert(shape):
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
    return BertForSequenceClassification(config), VOCABULARY


def gpt2(shape):
    config = GPT2Config(
        vocab_size=LETTERS,
        n_embd=shape["hidden"],
        n_layer=shape["layers"],
        n_head=shape["heads"],
        n_inner=shape["inner"],
        n_positions=shape["seq"],
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPT2LMHeadModel(config), LETTERS


def write(shape):
    folder = Path(shape["folder"])
    torch.manual_seed(1)
    network, vocabulary = {"bert": bert, "gpt2": gpt2}[shape["network"]](shape)
    network.save_pretrained(folder)
    ids = torch.randint(1, vocabulary, (shape["rows"], shape["seq"])).tolist()
    labels = torch.randint(0, CLASSES, (shape["rows"],)).tolist()
    (folder / "input.json").write_text(json.dumps({"ids": ids, "labels": labels, "classes": CLASSES}), encoding="utf-8")


if __name__ == "__main__":
    for shape in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        write(shape)
