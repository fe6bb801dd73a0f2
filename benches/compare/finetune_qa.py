"""Fine-tunes a model that finds answers in PyTorch by the recipe of the crate's example `finetune_qa`, with the same flags.

Windows, targets and the choice of answers are those of Transformers' recipe for SQuAD; EM and F1 those of SQuAD's program.
"""

import argparse
import collections
import json
import re
import string

import recipe
import torch
from torch import nn

CANDIDATES = 20


class Reader(nn.Module):
    def __init__(self, folder):
        super().__init__()
        self.backbone = recipe.backbone(folder)
        self.head = nn.Linear(self.backbone.config.hidden_size, 2)

    def logits(self, encodings):
        """Start and end: two [batch, seq]."""
        return self.head(recipe.hidden(self.backbone, encodings)[0]).unbind(-1)


def read_split(data, split):
    articles = json.loads((data / f"{split}.json").read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    return [{**question, "context": paragraph["context"]} for paragraph in paragraphs for question in paragraph["qas"]]


def windows_of(tokenizer, rows, args):
    """(encoding, index of the question) of every window."""
    tokenizer.enable_truncation(args.max_length, stride=args.doc_stride, strategy="only_second")
    found = []
    for index, row in enumerate(rows):
        encoding = tokenizer.encode(row["question"], row["context"])
        found += [(window, index) for window in [encoding, *encoding.overflowing]]
    return found


def span(window, row):
    """First and last token of the first answer; the first token twice where the window does not hold it."""
    answer = row["answers"][0]
    start, end = answer["answer_start"], answer["answer_start"] + len(answer["text"])
    held = [(place, window.offsets[place]) for place, side in enumerate(window.sequence_ids) if side == 1]
    if not held or held[0][1][0] > start or held[-1][1][1] < end:
        return 0, 0
    first = [place for place, (begin, _) in held if begin <= start][-1]
    last = [place for place, (_, stop) in held if stop >= end][0]
    return first, last


def normalise(text):
    text = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def overlap(found, wanted):
    found, wanted = normalise(found).split(), normalise(wanted).split()
    shared = sum((collections.Counter(found) & collections.Counter(wanted)).values())
    if not found or not wanted:
        return float(found == wanted)
    return 2 * shared / (len(found) + len(wanted))


@torch.no_grad()
def answers(model, windows, rows, args):
    """The best piece of each question's context."""
    model.eval()
    best = [(-float("inf"), "")] * len(rows)
    for batch in recipe.in_length_order([len(window.ids) for window, _ in windows], args.batch_size):
        starts, ends = model.logits([windows[at][0] for at in batch])
        for at, start, end in zip(batch, starts, ends):
            window, index = windows[at]
            length = len(window.ids)
            top = lambda logits: logits[:length].topk(min(CANDIDATES, length)).indices.tolist()
            for first in top(start):
                for last in top(end):
                    inside = window.sequence_ids[first] == 1 and window.sequence_ids[last] == 1
                    score = (start[first] + end[last]).item()
                    if inside and first <= last < first + args.max_answer and score > best[index][0]:
                        text = rows[index]["context"][window.offsets[first][0] : window.offsets[last][1]]
                        best[index] = (score, text)
    return [text for _, text in best]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    recipe.add_flags(parser, max_length=384)
    parser.add_argument("--doc-stride", type=int, default=128)
    parser.add_argument("--max-answer", type=int, default=30)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    tokenizer = recipe.tokenizer(args.model)
    train, test = (recipe.draw(read_split(args.data, name), args) for name in ["train", "test"])
    windows = windows_of(tokenizer, train, args)
    spans = torch.tensor([span(window, train[index]) for window, index in windows])
    model = Reader(args.model)
    still = recipe.freeze(model.backbone, args.freeze)

    def loss_of(batch):
        logits = model.logits([windows[at][0] for at in batch])
        return sum(nn.functional.cross_entropy(side, spans[batch, end]) for end, side in enumerate(logits)) / 2

    lengths = [len(window.ids) for window, _ in windows]
    losses, timing = recipe.timed(lambda: recipe.fit(model, lengths, loss_of, args, still))
    found = answers(model, windows_of(tokenizer, test, args), test, args)
    accepted = [[answer["text"] for answer in row["answers"]] for row in test]
    exact = [max(normalise(text) == normalise(other) for other in others) for text, others in zip(found, accepted)]
    f1 = [max(overlap(text, other) for other in others) for text, others in zip(found, accepted)]
    scores = {"f1": sum(f1) / len(f1), "exact_match": sum(exact) / len(exact)}
    print(f"test F1 {scores['f1']:.4f}, exact match {scores['exact_match']:.4f}, {timing['seconds']:.1f} s of training")
    recipe.write(args.json, {"test": scores, **timing, "losses": losses})


if __name__ == "__main__":
    main()
