"""Fine-tunes a classifier of pairs of texts in PyTorch by the recipe of the crate's example `finetune_pairs`, with the same
flags."""

import argparse
import json

import recipe
import torch
from torch import nn


class PairClassifier(nn.Module):
    """Dropout and a linear map on the mean over a pair's tokens."""

    def __init__(self, folder, labels):
        super().__init__()
        self.backbone = recipe.backbone(folder)
        self.dropout = nn.Dropout(self.backbone.config.hidden_dropout_prob)
        self.head = nn.Linear(self.backbone.config.hidden_size, labels)

    def logits(self, encodings):
        hidden, mask = recipe.hidden(self.backbone, encodings)
        return self.head(self.dropout((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    recipe.add_flags(parser, max_length=128)
    parser.add_argument("--first", default="premise")
    parser.add_argument("--second", default="hypothesis")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    tokenizer = recipe.tokenizer(args.model)
    tokenizer.enable_truncation(args.max_length)

    def read(split):
        with open(args.data / f"{split}.jsonl", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    splits = {name: read(name) for name in ["train", "test"]}
    names = sorted({row["label"] for row in splits["train"]})
    splits = {name: recipe.draw(rows, args) for name, rows in splits.items()}
    encoded = {name: tokenizer.encode_batch([(row[args.first], row[args.second]) for row in rows]) for name, rows in splits.items()}
    labels = {name: torch.tensor([names.index(row["label"]) for row in rows]) for name, rows in splits.items()}
    model = PairClassifier(args.model, len(names))
    still = recipe.freeze(model.backbone, args.freeze)
    loss_of = lambda batch: nn.functional.cross_entropy(model.logits([encoded["train"][row] for row in batch]), labels["train"][batch])
    lengths = [len(row.ids) for row in encoded["train"]]
    losses, timing = recipe.timed(lambda: recipe.fit(model, lengths, loss_of, args, still))

    model.eval()
    right = 0
    with torch.no_grad():
        for batch in recipe.in_length_order([len(row.ids) for row in encoded["test"]], args.batch_size):
            guesses = model.logits([encoded["test"][row] for row in batch]).argmax(-1)
            right += (guesses == labels["test"][batch]).sum().item()
    accuracy = right / len(labels["test"])
    print(f"test accuracy {accuracy:.4f}, {timing['seconds']:.1f} s of training")
    recipe.write(args.json, {"test": {"accuracy": accuracy}, **timing, "losses": losses})


if __name__ == "__main__":
    main()
