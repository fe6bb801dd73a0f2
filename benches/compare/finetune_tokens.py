"""Fine-tunes a token classifier in PyTorch by the recipe of the crate's example `finetune_tokens`, with the same flags."""

import argparse
import json

import recipe
import torch
from torch import nn

IGNORED = -100


class TokenClassifier(nn.Module):
    def __init__(self, folder, labels):
        super().__init__()
        self.backbone = recipe.backbone(folder)
        self.dropout = nn.Dropout(self.backbone.config.hidden_dropout_prob)
        self.head = nn.Linear(self.backbone.config.hidden_size, labels)

    def logits(self, encodings):
        return self.head(self.dropout(recipe.hidden(self.backbone, encodings)[0]))


def read_split(data, split):
    with open(data / f"{split}.jsonl", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def first_tokens(encoding):
    """The first token of each word that has one."""
    first = {}
    for place, word in enumerate(encoding.word_ids):
        if word is not None:
            first.setdefault(word, place)
    return first


def entities(tags):
    """(type, first word, word after the last) of runs of B- and I- tags, as the CoNLL program reads them."""
    found, kind, start = set(), None, 0
    for place, tag in enumerate([*tags, "O"]):
        mark, _, name = tag.partition("-")
        if kind is not None and (mark != "I" or name != kind):
            found.add((kind, start, place))
            kind = None
        if kind is None and mark != "O":
            kind, start = name, place
    return found


def entity_scores(found, actual):
    pairs = [(entities(a), entities(b)) for a, b in zip(found, actual)]
    right = sum(len(a & b) for a, b in pairs)
    given, wanted = (sum(len(pair[side]) for pair in pairs) for side in (0, 1))
    share = lambda of: right / of if of else 0.0
    return {"precision": share(given), "recall": share(wanted), "f1": 2 * right / (given + wanted) if given + wanted else 0.0}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    recipe.add_flags(parser, max_length=128)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    tokenizer = recipe.tokenizer(args.model)
    tokenizer.enable_truncation(args.max_length)
    splits = {name: read_split(args.data, name) for name in ["train", "test"]}
    names = sorted({tag for row in splits["train"] for tag in row["ner_tags"]}, key=lambda tag: (tag != "O", tag))
    splits = {name: recipe.draw(rows, args) for name, rows in splits.items()}
    encode = lambda rows: tokenizer.encode_batch([row["tokens"] for row in rows], is_pretokenized=True)
    encoded = {name: encode(rows) for name, rows in splits.items()}

    labels = []
    for encoding, row in zip(encoded["train"], splits["train"]):
        classes = torch.full((len(encoding.ids),), IGNORED)
        for word, place in first_tokens(encoding).items():
            classes[place] = names.index(row["ner_tags"][word])
        labels.append(classes)
    model = TokenClassifier(args.model, len(names))
    still = recipe.freeze(model.backbone, args.freeze)

    def loss_of(batch):
        logits = model.logits([encoded["train"][row] for row in batch])
        targets = nn.utils.rnn.pad_sequence([labels[row] for row in batch], True, IGNORED)
        return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)

    lengths = [len(row.ids) for row in encoded["train"]]
    losses, timing = recipe.timed(lambda: recipe.fit(model, lengths, loss_of, args, still))

    model.eval()
    found = [["O"] * len(row["ner_tags"]) for row in splits["test"]]
    with torch.no_grad():
        for batch in recipe.in_length_order([len(row.ids) for row in encoded["test"]], args.batch_size):
            guesses = model.logits([encoded["test"][row] for row in batch]).argmax(-1)
            for row, guess in zip(batch, guesses):
                for word, place in first_tokens(encoded["test"][row]).items():
                    found[row][word] = names[guess[place]]
    scores = entity_scores(found, [row["ner_tags"] for row in splits["test"]])
    print(f"test entity F1 {scores['f1']:.4f}, precision {scores['precision']:.4f}, recall {scores['recall']:.4f}, {timing['seconds']:.1f} s of training")
    recipe.write(args.json, {"test": {"entity": scores}, **timing, "losses": losses})


if __name__ == "__main__":
    main()
