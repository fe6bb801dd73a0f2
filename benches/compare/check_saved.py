"""Checks that Transformers reads a saved classifier whole and computes the same logits from the same texts."""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything is read from the folder

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("dir", type=Path, metavar="DIR", help="the saved model")
    add("texts", type=Path, metavar="TEXTS.json", help="a list of strings")
    add("expected", type=Path, metavar="EXPECTED.json", help="a list of rows of logits, one for each text")
    add("--tolerance", type=float, default=1e-5, help="largest absolute difference allowed")
    add("--max-length", type=int, default=128, help="texts are cut to this many tokens")
    add("--remote-code", action="store_true", help="run the Python files that lie in DIR")
    return parser.parse_args()


def load(folder, remote_code):
    """The model in inference mode, its tokenizer, and what Transformers complained about."""
    model, report = AutoModelForSequenceClassification.from_pretrained(
        folder,
        dtype=torch.float32,
        trust_remote_code=remote_code,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # so that all of them are reported
    )
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=remote_code)
    return model.eval(), tokenizer, {kind: found for kind, found in report.items() if found}


@torch.no_grad()
def logits(model, tokenizer, text, max_length):
    """The logits of one text alone, so that padding plays no part: [labels]."""
    return model(**tokenizer(text, truncation=True, max_length=max_length, return_tensors="pt")).logits[0]


def main():
    args = parse_args()
    model, tokenizer, complaints = load(args.dir, args.remote_code)
    for kind, found in complaints.items():
        print(f"{kind}: {sorted(map(str, found))}")
    if complaints:
        sys.exit("the weights in the folder are not the weights of the model that its config.json names")
    texts = json.loads(args.texts.read_text(encoding="utf-8"))
    expected = torch.tensor(json.loads(args.expected.read_text(encoding="utf-8")))
    ours = torch.stack([logits(model, tokenizer, text, args.max_length) for text in texts])
    if ours.shape != expected.shape:
        sys.exit(f"{args.expected} has logits of shape {list(expected.shape)}, the model gives {list(ours.shape)}")
    difference = (ours - expected).abs().max().item()
    print(f"{len(texts)} texts, largest difference {difference:.3g}, tolerance {args.tolerance:g}")
    if not difference <= args.tolerance:  # a NaN fails too
        sys.exit(1)


if __name__ == "__main__":
    main()
