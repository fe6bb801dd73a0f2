"""Extracts the features of a frozen backbone once, in PyTorch, and fits scikit-learn's logistic regression to them."""

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer

from finetune_text import Classifier, infer, read_split


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ["--model", "--data", "--json"]:
        parser.add_argument(name, type=Path, required=True)
    return parser.parse_args()


def main():
    args = parse_args()
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    tokenizer.no_padding()  # the file may ask for a fixed length
    tokenizer.enable_truncation(128)
    model = Classifier(args.model, "mean", 2)  # its head is not used
    features, labels = {}, {}
    start = time.perf_counter()
    for name in ["train", "validation", "test"]:
        texts, labels[name] = read_split(args.data, name)
        features[name] = infer(model, [row.ids for row in tokenizer.encode_batch(texts)], 32).numpy()
    extracted = time.perf_counter()
    fitted = LogisticRegression(max_iter=1000).fit(features["train"], labels["train"])
    result = {
        "accuracy": fitted.score(features["test"], labels["test"]),
        "validation_accuracy": fitted.score(features["validation"], labels["validation"]),
        "extract_seconds": extracted - start,
        "fit_seconds": time.perf_counter() - extracted,
    }
    args.json.write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
