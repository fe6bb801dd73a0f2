"""What the twins of the crate's recipes share: batches, optimizer and schedule.

AdamW (decay 0.01 except on biases and norms), a linear warm-up over a tenth of the steps and a linear fall to 0, gradients
clipped to a global norm of 1, batches of similar length.
"""

import json
import math
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoModel, get_linear_schedule_with_warmup

POOL_BATCHES = 50  # batches sorted by length together: enough to save padding, few enough to stay shuffled
LOG_STEPS = 20


def add_flags(parser, max_length):
    add = parser.add_argument
    add("--model", type=Path, required=True, help="folder with config.json, model.safetensors and tokenizer.json")
    add("--data", type=Path, required=True, help="folder with the files of training, validation and test")
    add("--freeze", default="nothing", help="nothing, backbone or bottom:N, where the embeddings count as one")
    add("--epochs", type=int, default=3)
    add("--lr", type=float, default=1e-4)
    add("--batch-size", type=int, default=32)
    add("--max-length", type=int, default=max_length)
    add("--seed", type=int, default=1)
    add("--limit", type=int, help="use this many examples of each file, drawn by the seed")
    add("--json", type=Path, help="where to write the result")


def draw(rows, args):
    chosen = torch.randperm(len(rows))[: args.limit].sort().values.tolist()
    return [rows[row] for row in chosen]


def tokenizer(folder):
    """One that neither pads nor truncates: the file may ask for a fixed length."""
    loaded = Tokenizer.from_file(str(folder / "tokenizer.json"))
    loaded.no_padding()
    loaded.no_truncation()
    return loaded


def backbone(folder):
    """The bare body without its pooler, which would be computed for nothing."""
    body = AutoModel.from_pretrained(folder, dtype=torch.float32)
    body.pooler = None
    return body


def freeze(body, how):
    """Freezes parameters, and runs what is frozen from the input on without dropout or a graph."""
    frozen = {"nothing": 0, "backbone": 1 + len(body.encoder.layer)}.get(how)
    frozen = int(how.split(":")[1]) if frozen is None else frozen
    parts = [body.embeddings, *body.encoder.layer][:frozen]
    for part in parts:
        part.requires_grad_(False)

    def still(model):
        model.train()
        for part in parts:
            part.eval()

    return still


def hidden(body, encodings):
    """The last hidden states of encodings, padded to the longest: [batch, seq, hidden], and their mask."""
    pad = lambda rows, value: nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], True, value)
    ids, types = pad([row.ids for row in encodings], body.config.pad_token_id), pad([row.type_ids for row in encodings], 0)
    mask = (torch.arange(ids.shape[1]) < torch.tensor([len(row.ids) for row in encodings])[:, None]).long()
    return body(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state, mask


def cut(rows, size):
    return [rows[at : at + size] for at in range(0, len(rows), size)]


def bucketed(lengths, batch_size):
    """The batches of one epoch: rows shuffled, sorted by length within pools, then the batches shuffled."""
    batches = []
    for pool in cut(torch.randperm(len(lengths)).tolist(), batch_size * POOL_BATCHES):
        batches += cut(sorted(pool, key=lambda row: lengths[row]), batch_size)
    return [batches[at] for at in torch.randperm(len(batches)).tolist()]


def in_length_order(lengths, batch_size):
    return cut(sorted(range(len(lengths)), key=lambda row: lengths[row]), batch_size)


def fit(model, lengths, loss_of, args, still=nn.Module.train):
    """Trains in place; `loss_of` gives the mean loss of rows. Returns the mean loss of each LOG_STEPS steps."""
    still(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices, vectors = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim == 1]  # vectors: biases and norms
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.999), eps=1e-8)
    steps = args.epochs * math.ceil(len(lengths) / args.batch_size)
    schedule = get_linear_schedule_with_warmup(optimizer, math.ceil(0.1 * steps), steps)
    losses = []
    for epoch in range(args.epochs):
        for batch in bucketed(lengths, args.batch_size):
            loss = loss_of(batch)
            loss.backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {losses[-1]:.4f}", flush=True)
    return [sum(chunk) / len(chunk) for chunk in cut(losses, LOG_STEPS)]


def timed(work):
    """What `work` gives, and how long it took."""
    start = time.perf_counter()
    result = work()
    return result, {"seconds": time.perf_counter() - start, "threads": torch.get_num_threads()}


def write(path, result):
    if path:
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
