"""PyTorch's side of the cases in turns, with the works and flags of `worker.rs`."""

import json
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from transformers import get_linear_schedule_with_warmup

from turns import parse_args, say, serve, write_values


def read(args):
    return json.loads(args.input.read_text(encoding="utf-8"))


def classifier(args):
    return AutoModelForSequenceClassification.from_pretrained(args.model, dtype=torch.float32)


def step(args):
    """Optimizer steps of the usual loop: the losses."""
    given, model = read(args), classifier(args).train()
    ids, labels = torch.tensor(given["ids"]), torch.tensor(given["labels"])

    def loss(rows):
        batch = ids[rows]
        logits = model(input_ids=batch, attention_mask=torch.ones_like(batch)).logits
        return torch.nn.functional.cross_entropy(logits, labels[rows])

    return train(args, model, len(ids), loss)


def gpt_step(args):
    """As `step`, on next tokens."""
    ids, model = torch.tensor(read(args)["ids"]), AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)

    def loss(rows):
        batch = ids[rows]
        return model(input_ids=batch, labels=batch, use_cache=False).loss

    return train(args, model.train(), len(ids), loss)


def train(args, model, examples, loss_of):
    """One optimizer step in every turn: the losses."""
    batches = iter(json.loads(args.order.read_text(encoding="utf-8")))
    total = -(-examples // args.batch_size)
    matrices, vectors = [[p for p in model.parameters() if (p.ndim > 1) == wide] for wide in (True, False)]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
    # `Trainer` takes the fused one too.
    optimizer = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.999), eps=1e-8, fused=True)
    schedule = get_linear_schedule_with_warmup(optimizer, -(-total // 10), total)

    def one():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.precision == "bf16"):
            loss = loss_of(next(batches))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        return loss.item()

    return serve(one)


@torch.inference_mode()
def forward(args):
    """The first batch in inference: its logits."""
    ids, model = torch.tensor(read(args)["ids"][: args.batch_size]), classifier(args).eval()
    results = serve(lambda: model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits)
    return results[-1].flatten().tolist()


class Embedder:
    def __init__(self, args):
        self.tokenizer = AutoTokenizer.from_pretrained(args.model)
        self.model = AutoModel.from_pretrained(args.model, dtype=torch.float32, add_pooling_layer=False).eval()

    @torch.inference_mode()
    def embed(self, texts, batch_size):
        """Mean-pooled vectors, [texts, hidden], in batches from short to long."""
        rows = self.tokenizer(texts, truncation=True, max_length=512)["input_ids"]
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
        vectors = [None] * len(rows)
        for at in range(0, len(order), batch_size):
            chosen = order[at : at + batch_size]
            batch = self.tokenizer.pad({"input_ids": [rows[row] for row in chosen]}, return_tensors="pt")
            mask = batch["attention_mask"]
            hidden = self.model(input_ids=batch["input_ids"], attention_mask=mask).last_hidden_state
            pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            for row, vector in zip(chosen, pooled):
                vectors[row] = vector
        return torch.stack(vectors)


def embed(args):
    embedder, texts = Embedder(args), read(args)
    return serve(lambda: embedder.embed(texts, args.batch_size))[-1].flatten().tolist()


def first(args):
    vectors = Embedder(args).embed(read(args), args.batch_size)
    say("ready")
    return vectors.flatten().tolist()


WORKS = {"step": step, "gpt-step": gpt_step, "forward": forward, "embed": embed, "first": first}

if __name__ == "__main__":
    args = parse_args(__doc__, WORKS)
    write_values(args.values, WORKS[args.work](args))
