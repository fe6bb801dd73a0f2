"""Checks that Transformers reads a saved model whole and computes the same logits from the same texts."""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything is read from the folder

import torch
from transformers import (
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

KINDS = {
    "classifier": AutoModelForSequenceClassification,
    "tags": AutoModelForTokenClassification,
    "choices": AutoModelForMultipleChoice,
    "spans": AutoModelForQuestionAnswering,
}


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("dir", type=Path, metavar="DIR", help="the saved model")
    add("texts", type=Path, metavar="TEXTS.json", help="a list of strings; of lists of words for tags, of questions with contexts for spans, of questions with lists of choices for choices")
    add("expected", type=Path, metavar="EXPECTED.json", help="a list of rows of logits, one for each text: of all its tokens for tags, of all starts and then all ends for spans")
    add("--kind", choices=KINDS, default="classifier")
    add("--tolerance", type=float, default=1e-5, help="largest absolute difference allowed")
    add("--max-length", type=int, default=128, help="texts are cut to this many tokens")
    add("--remote-code", action="store_true", help="run the Python files that lie in DIR")
    return parser.parse_args()


def load(folder, kind, remote_code):
    """The model in inference mode, its tokenizer, and what Transformers complained about."""
    model, report = KINDS[kind].from_pretrained(
        folder,
        dtype=torch.float32,
        trust_remote_code=remote_code,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # so that all of them are reported
    )
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=remote_code)
    return model.eval(), tokenizer, {kind: found for kind, found in report.items() if found}


@torch.no_grad()
def logits(model, tokenizer, text, kind, max_length):
    """The logits of one text alone, so that padding plays no part, in one row."""
    if kind == "choices":
        question, choices = text
        texts = [[question] * len(choices), choices]
    else:
        texts = text if kind == "spans" else [text]
    inputs = tokenizer(
        *texts, truncation=True, max_length=max_length, padding=kind == "choices", return_tensors="pt", is_split_into_words=kind == "tags"
    )
    if kind == "choices":
        inputs = {name: values.unsqueeze(0) for name, values in inputs.items()}
    output = model(**inputs)
    parts = [output.start_logits, output.end_logits] if kind == "spans" else [output.logits]
    return torch.cat([part.flatten() for part in parts])


def main():
    args = parse_args()
    model, tokenizer, complaints = load(args.dir, args.kind, args.remote_code)
    for kind, found in complaints.items():
        print(f"{kind}: {sorted(map(str, found))}")
    if complaints:
        sys.exit("the weights in the folder are not the weights of the model that its config.json names")
    texts = json.loads(args.texts.read_text(encoding="utf-8"))
    expected = [torch.tensor(row) for row in json.loads(args.expected.read_text(encoding="utf-8"))]
    ours = [logits(model, tokenizer, text, args.kind, args.max_length) for text in texts]
    if [len(row) for row in ours] != [len(row) for row in expected]:
        sys.exit(f"the model gives {[len(row) for row in ours]} logits, {args.expected} has {[len(row) for row in expected]}")
    difference = max((a - b).abs().max().item() for a, b in zip(ours, expected))
    print(f"{len(texts)} texts, largest difference {difference:.3g}, tolerance {args.tolerance:g}")
    if not difference <= args.tolerance:  # a NaN fails too
        sys.exit(1)


if __name__ == "__main__":
    main()
