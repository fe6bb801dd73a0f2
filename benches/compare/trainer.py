"""Fine-tunes a text classifier with Transformers' `Trainer` as most people do, on the network of `finetune_text.py`.

Random batches, unless told otherwise, each padded to its longest text; validation after every epoch, the test split at the end. What is frozen
has `requires_grad = False` and is computed anew in every epoch.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from transformers import AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments, set_seed

from finetune_text import Classifier, read_split


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--model", type=Path, required=True)
    add("--data", type=Path, required=True)
    add("--freeze", default="nothing", help="nothing, backbone, or bottom:N of the stages; the first is the embeddings")
    add("--epochs", type=int, default=1)
    add("--lr", type=float, default=5e-5)
    add("--sampling", choices=["random", "group_by_length"], default="random")
    add("--seed", type=int, default=1)
    add("--json", type=Path, required=True)
    return parser.parse_args()


class MeanClassifier(Classifier):
    """Takes and gives what `Trainer` wants."""

    def forward(self, input_ids, attention_mask, labels):
        hidden = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        pooled = (hidden * attention_mask[..., None]).sum(1) / attention_mask.sum(1, keepdim=True)
        logits = self.logits(pooled)
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


def freeze(model, what):
    if what == "backbone":
        model.backbone.requires_grad_(False)
    elif what.startswith("bottom:"):
        stages = [model.backbone.embeddings, *model.backbone.encoder.layer]
        for stage in stages[: int(what.removeprefix("bottom:"))]:
            stage.requires_grad_(False)
    elif what != "nothing":
        raise SystemExit(f"no policy is called {what!r}")


def examples(tokenizer, split, names):
    texts, labels = split
    rows = tokenizer(texts, truncation=True, max_length=128, return_token_type_ids=False)
    return [
        {"input_ids": ids, "attention_mask": mask, "labels": names[label]}
        for ids, mask, label in zip(rows["input_ids"], rows["attention_mask"], labels)
    ]


def main():
    args = parse_args()
    set_seed(args.seed)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    splits = {name: read_split(args.data, name) for name in ["train", "validation", "test"]}
    names = {name: index for index, name in enumerate(sorted(set(splits["train"][1])))}
    data = {name: examples(tokenizer, split, names) for name, split in splits.items()}
    model = MeanClassifier(args.model, "mean", len(names))
    freeze(model, args.freeze)
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            use_cpu=True,
            num_train_epochs=args.epochs,
            per_device_train_batch_size=32,
            per_device_eval_batch_size=32,
            learning_rate=args.lr,
            weight_decay=0.01,
            warmup_steps=0.1,  # below 1: a share of the steps
            max_grad_norm=1.0,
            lr_scheduler_type="linear",
            train_sampling_strategy=args.sampling,
            eval_strategy="epoch",
            save_strategy="no",
            seed=args.seed,
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        trainer = Trainer(
            model=model,
            args=settings,
            train_dataset=data["train"],
            eval_dataset=data["validation"],
            data_collator=DataCollatorWithPadding(tokenizer),
        )
        trained = trainer.train()
        predicted = trainer.predict(data["test"])
        trainer.save_model(folder)
    accuracy = float((predicted.predictions.argmax(-1) == predicted.label_ids).mean())
    result = {"accuracy": accuracy, "train_seconds": trained.metrics["train_runtime"], "loss": trained.training_loss}
    args.json.write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
