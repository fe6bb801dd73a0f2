"""The worker's end of a comparison in turns: one unit of work for each line on standard input, its seconds on standard output."""

import argparse
import sys
import time
from array import array
from pathlib import Path


def parse_args(description, works):
    """The flags that `worker.rs` has too."""
    parser = argparse.ArgumentParser(description=description)
    add = parser.add_argument
    add("work", choices=works)
    add("--model", type=Path, required=True)
    add("--input", type=Path, required=True)
    add("--values", type=Path, required=True)
    add("--batch-size", type=int, default=32)
    add("--order", type=Path)
    add("--lr", type=float, default=5e-5)
    add("--precision", choices=["f32", "bf16"], default="f32")
    return parser.parse_args()


def say(text):
    print(text, flush=True)


def serve(work):
    """Does the work in every turn; gives what came of each."""
    say("ready")
    results = []
    for _ in sys.stdin:
        start = time.perf_counter()
        results.append(work())
        say(time.perf_counter() - start)
    return results


def write_values(path, values):
    """Little-endian f32."""
    values = array("f", values)
    if sys.byteorder == "big":
        values.byteswap()
    path.write_bytes(values.tobytes())
