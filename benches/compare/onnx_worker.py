"""ONNX Runtime's side of `embed` and `first`; the folder is what `export_onnx.py` wrote."""

import json
import os

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from turns import parse_args, say, serve, write_values


class Embedder:
    def __init__(self, args):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", 0))
        self.session = onnxruntime.InferenceSession(args.model / "model.onnx", options, ["CPUExecutionProvider"])
        self.tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
        self.tokenizer.no_padding()  # the file may ask for a fixed length
        self.tokenizer.enable_truncation(512)

    def embed(self, texts, batch_size):
        """Mean-pooled vectors, [texts, hidden], in batches from short to long."""
        rows = [row.ids for row in self.tokenizer.encode_batch(texts)]
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
        vectors = [None] * len(rows)
        for at in range(0, len(order), batch_size):
            chosen = order[at : at + batch_size]
            ids = np.zeros((len(chosen), len(rows[chosen[-1]])), dtype=np.int64)
            mask = np.zeros_like(ids)
            for place, row in enumerate(chosen):
                ids[place, : len(rows[row])], mask[place, : len(rows[row])] = rows[row], 1
            (pooled,) = self.session.run(None, {"ids": ids, "mask": mask})
            for row, vector in zip(chosen, pooled):
                vectors[row] = vector
        return np.stack(vectors)


def main():
    args = parse_args(__doc__, ["embed", "first"])
    embedder, texts = Embedder(args), json.loads(args.input.read_text(encoding="utf-8"))
    if args.work == "first":
        vectors = embedder.embed(texts, args.batch_size)
        say("ready")
    else:
        vectors = serve(lambda: embedder.embed(texts, args.batch_size))[-1]
    write_values(args.values, vectors.ravel().tolist())


if __name__ == "__main__":
    main()
