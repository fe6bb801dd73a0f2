"""Checks that Transformers reads every model folder in ROOT whole, and computes in it what was computed before.

A folder's `config.json` names its class. `given.json`, where it is there, is the configuration that the saved one was made
from: both have to mean the same. `inputs.safetensors` and `expected.safetensors`, where they are there, hold a batch and outputs."""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything is read from the folders

import torch
import transformers
from safetensors.torch import load_file

WHOLE_NUMBERS = ("input_ids", "attention_mask", "token_type_ids")
# What says how a file was made, not what the model is.
OF_THE_FILE = ("_name_or_path", "architectures", "dtype", "transformers_version")


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("root", type=Path, metavar="ROOT")
    add("--tolerance", type=float, default=1e-5, help="largest difference allowed, as a share of the largest output where that is above 1")
    return parser.parse_args()


def fields(value):
    """A configuration's fields, or a part of them."""
    if isinstance(value, dict):
        return {name: fields(part) for name, part in value.items() if name not in OF_THE_FILE}
    return value


def check(folder, tolerance):
    """What does not fit, and the largest difference where outputs are there."""
    name = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"][0]
    try:
        model, faults = load(folder, name)
        if not (folder / "expected.safetensors").is_file():
            return name, faults, None
        differing, farthest = compare(folder, model, tolerance)
        return name, faults + differing, farthest
    except Exception as error:  # the other folders are checked all the same
        return name, [f"{type(error).__name__}: {error}"], None


def load(folder, name):
    """The model in inference mode, and what does not fit."""
    model, report = getattr(transformers, name).from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
    )
    faults = [f"{kind}: {sorted(map(str, keys))}" for kind, keys in report.items() if keys]
    given = folder / "given.json"
    if given.is_file():
        meant = type(model.config).from_dict(json.loads(given.read_text(encoding="utf-8")))
        faults += differing_fields(fields(model.config.to_dict()), fields(meant.to_dict()))
    return model.eval(), faults


def differing_fields(saved, meant, within=""):
    """Fields of what was meant that are saved otherwise; more of them change nothing."""
    for field, value in meant.items():
        if isinstance(value, dict) and isinstance(saved.get(field), dict):
            yield from differing_fields(saved[field], value, f"{within}{field}.")
        elif saved.get(field) != value:
            yield f"{within}{field} is {saved.get(field)!r}, and was {value!r}"


@torch.no_grad()
def compare(folder, model, tolerance):
    inputs = load_file(folder / "inputs.safetensors")
    inputs = {name: value.long() if name in WHOLE_NUMBERS else value for name, value in inputs.items()}
    outputs = model(**inputs)
    faults, farthest = [], 0.0
    for name, expected in load_file(folder / "expected.safetensors").items():
        if outputs[name].shape != expected.shape:
            faults.append(f"{name} has the shape {list(outputs[name].shape)}, not {list(expected.shape)}")
            continue
        difference = (outputs[name] - expected).abs().max().item() / max(1.0, expected.abs().max().item())
        farthest = max(farthest, difference)
        if not difference <= tolerance:  # a NaN fails too
            faults.append(f"{name} differs by {difference:.3g}")
        if expected.std() < 1e-3:
            faults.append(f"{name} is nearly constant, which would agree whatever was loaded")
    return faults, farthest


def main():
    args = parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    failed = False
    for folder in sorted(args.root.iterdir(), key=lambda folder: int(folder.name)):
        name, faults, farthest = check(folder, args.tolerance)
        print(name, "keys" if farthest is None else f"{farthest:.1e}", *faults, sep="; ")
        failed |= bool(faults)
    sys.exit(failed)


if __name__ == "__main__":
    main()
