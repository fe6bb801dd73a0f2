"""Fine-tunes a text classifier in PyTorch by the recipe of the crate's example `finetune_text`, with the same flags.

Optimizer, schedule and batches are those of `recipe.py`. A frozen backbone runs once, in inference mode.
"""

import argparse
import json
import time
from pathlib import Path

import recipe
import torch
from sklearn.metrics import accuracy_score, f1_score
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoModel


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--model", type=Path, required=True, help="folder with config.json, model.safetensors and tokenizer.json")
    add("--data", type=Path, required=True, help="folder with train.jsonl, validation.jsonl, test.jsonl of text and label")
    add("--freeze", choices=["nothing", "backbone"], default="nothing")
    add("--epochs", type=int, default=3)
    add("--lr", type=float, default=5e-5)
    add("--batch-size", type=int, default=32)
    add("--max-length", type=int, default=128)
    add("--pooling", choices=["cls", "mean", "pooler"], default="cls")
    add("--seed", type=int, default=0)
    add("--limit", type=int, help="train on this many rows, drawn by the seed")
    add("--json", type=Path, help="where to write the result")
    return parser.parse_args()


class Classifier(nn.Module):
    def __init__(self, folder, pooling, labels):
        super().__init__()
        self.backbone = AutoModel.from_pretrained(folder, dtype=torch.float32)
        config = self.backbone.config
        if pooling != "pooler":
            self.backbone.pooler = None  # it would be computed for nothing
        self.pooling, self.pad = pooling, config.pad_token_id
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.head = nn.Linear(config.hidden_size, labels)

    def features(self, rows):
        """One vector for each row of token ids: [batch, hidden]."""
        ids = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=self.pad)
        mask = (torch.arange(ids.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]).long()
        output = self.backbone(input_ids=ids, attention_mask=mask)
        if self.pooling == "pooler":
            return output.pooler_output
        if self.pooling == "cls":
            return output.last_hidden_state[:, 0]
        return (output.last_hidden_state * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)

    def logits(self, features):
        return self.head(self.dropout(features))


def read_split(data, split):
    with open(data / f"{split}.jsonl", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [row["text"] for row in rows], [row["label"] for row in rows]


@torch.no_grad()
def infer(model, ids, batch_size):
    """Features of all rows in inference mode, [rows, hidden], computed from short to long."""
    model.eval()
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    features = torch.cat([model.features([ids[row] for row in batch]) for batch in recipe.cut(order, batch_size)])
    return torch.empty_like(features).index_copy_(0, torch.tensor(order), features)


def evaluate(model, ids, labels, batch_size):
    guess = model.logits(infer(model, ids, batch_size)).argmax(-1)
    return {"accuracy": accuracy_score(labels, guess), "macro_f1": f1_score(labels, guess, average="macro")}


def fit(model, ids, labels, args):
    """Trains in place; returns the mean loss of each recipe.LOG_STEPS steps."""
    frozen = args.freeze == "backbone"
    model.backbone.requires_grad_(not frozen)
    cached = infer(model, ids, args.batch_size) if frozen else None

    def loss_of(batch):
        features = cached[batch] if frozen else model.features([ids[row] for row in batch])
        return nn.functional.cross_entropy(model.logits(features), labels[batch])

    return recipe.fit(model, [len(row) for row in ids], loss_of, args)


def main():
    args = parse_args()
    torch.manual_seed(args.seed)
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    tokenizer.no_padding()  # the file may ask for a fixed length
    tokenizer.enable_truncation(args.max_length)
    splits = {name: read_split(args.data, name) for name in ["train", "validation", "test"]}
    names = sorted(set(splits["train"][1]))
    ids = {name: [row.ids for row in tokenizer.encode_batch(texts)] for name, (texts, _) in splits.items()}
    labels = {name: torch.tensor([names.index(label) for label in split[1]]) for name, split in splits.items()}
    chosen = torch.randperm(len(ids["train"]))[: args.limit].tolist()
    model = Classifier(args.model, args.pooling, len(names))
    start = time.perf_counter()
    losses = fit(model, [ids["train"][row] for row in chosen], labels["train"][chosen], args)
    timing = {"seconds": time.perf_counter() - start, "threads": torch.get_num_threads()}
    test, validation = (evaluate(model, ids[name], labels[name], args.batch_size) for name in ["test", "validation"])
    print(f"test accuracy {test['accuracy']:.4f}, macro-F1 {test['macro_f1']:.4f}, {timing['seconds']:.1f} s of training")
    if args.json:
        result = {**test, "validation": validation, **timing, "losses": losses}
        args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
