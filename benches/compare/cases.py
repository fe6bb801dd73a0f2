"""The table of cases: what each runs on both sides, and what has to agree."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Shape:
    """A network and a batch for it."""

    network: str = "bert"
    hidden: int = 384
    layers: int = 6
    heads: int = 12
    batch: int = 32
    seq: int = 32

    def describe(self, precision):
        network = f"{self.layers} layers, hidden {self.hidden}, feed-forward {4 * self.hidden}, {self.heads} heads"
        return f"{network}; batch {self.batch} x {self.seq} tokens, {precision}, no dropout"


@dataclass(frozen=True)
class Opponent:
    """A program that the crate is compared with. `command` takes a Run."""

    name: str
    command: object
    # Its seconds of training are multiplied by this, for what would take too long to run whole.
    scale: int = 1
    # Whether its results have to be those of the crate.
    agrees: bool = True


@dataclass(frozen=True)
class Case:
    name: str
    group: str
    does: str
    ours: object
    theirs: tuple
    # "turns": live workers that alternate; "processes": whole processes; "first": processes until their first line.
    kind: str
    # What is compared: the largest difference, as a share of the largest value, or of two mean accuracies.
    compares: str
    tolerance: float
    rounds: int = 5
    # Units of work in a round, of which the median counts.
    units: int = 1
    # Whether `--quick` runs it without being asked by name.
    quick: bool = True
    shape: Shape | None = None
    # Few texts and two rounds tell less.
    quick_tolerance: float | None = None


@dataclass(frozen=True)
class Run:
    """What a command needs to know: where things are, and which run it is."""

    python: Path
    here: Path
    worker: Path
    example: Path
    model: Path
    data: Path
    onnx: Path
    # Of this program in this case: `input.json`, `order.json`, `values`, `result.json`.
    folder: Path
    shared: Path
    seed: int

    def script(self, name, *arguments):
        return [self.python, self.here / name, *arguments]

    @property
    def result(self):
        return self.folder / "result.json"

    @property
    def values(self):
        return self.folder / "values"


def flags(**values):
    """`--name value` of each."""
    return [part for name, value in values.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def turn_flags(run, model, batch):
    given, order = run.shared / "input.json", run.shared / "order.json"
    return flags(model=model, input=given, values=run.values, batch_size=batch, order=order)


def encoder(name, group, work, shape, rounds=5, units=2, quick=True, precision="f32"):
    """Steps of `fit`, or forward passes, beside the same in PyTorch, from the same weights on the same token ids.

    In bf16 (PyTorch's autocast) our own f32 is an opponent too."""
    what = {"step": "optimizer step of `fit` (clipping, AdamW, linear schedule)", "forward": "inference"}[work]

    def arguments(run, precision=precision):
        given = flags(precision=precision) if work == "step" else []
        return [work, *turn_flags(run, run.shared, shape.batch), *given]

    theirs = [Opponent("PyTorch", lambda run: run.script("torch_worker.py", *arguments(run)))]
    if precision != "f32":
        theirs.append(Opponent("this crate in f32", lambda run: [run.worker, *arguments(run, "f32")]))
    return Case(
        name=name,
        group=group,
        does=f"{what}: {shape.describe(precision)}",
        ours=lambda run: [run.worker, *arguments(run)],
        theirs=tuple(theirs),
        kind="turns",
        compares="losses" if work == "step" else "logits",
        tolerance=1e-4 if precision == "f32" else 2e-2,
        rounds=rounds,
        units=units,
        quick=quick,
        shape=shape,
    )


def decoder(name, shape):
    """Steps of `fit` that predict next tokens, beside `GPT2LMHeadModel`, from the same weights on the same token ids."""

    def arguments(run):
        return ["gpt-step", *turn_flags(run, run.shared, shape.batch)]

    return Case(
        name=name,
        group="decoder",
        does=f"optimizer step of `fit` on next tokens, GPT-2: {shape.describe('f32')}",
        ours=lambda run: [run.worker, *arguments(run)],
        theirs=(Opponent("PyTorch", lambda run: run.script("torch_worker.py", *arguments(run))),),
        kind="turns",
        compares="losses",
        tolerance=1e-4,
        rounds=10,
        units=3,
        shape=shape,
    )


def embedding(name, work, does, kind, rounds):
    def arguments(run, model):
        return [work, *turn_flags(run, model, 32)]

    return Case(
        name=name,
        group="inference",
        does=does,
        ours=lambda run: [run.worker, *arguments(run, run.model)],
        theirs=(
            Opponent("PyTorch", lambda run: run.script("torch_worker.py", *arguments(run, run.model))),
            Opponent("ONNX Runtime", lambda run: run.script("onnx_worker.py", *arguments(run, run.onnx))),
        ),
        kind=kind,
        compares="vectors",
        tolerance=1e-4,
        rounds=rounds,
    )


def folders(run):
    return flags(model=run.model, data=run.data, json=run.result)


def finetune(name, does, freeze, epochs, lr, theirs):
    """MiniLM on banking77 with our example, process start to process end."""

    def ours(run):
        recipe = flags(freeze=freeze, epochs=epochs, lr=lr, seed=run.seed, pooling="mean")
        return [run.example, *folders(run), *recipe, *flags(out=run.folder / "saved")]

    return Case(
        name=name,
        group="fine-tuning",
        does=does,
        ours=ours,
        theirs=theirs,
        kind="processes",
        compares="accuracy",
        tolerance=0.01,
        quick_tolerance=0.05,
    )


def trainer(name, freeze, epochs, lr, sampling="random", scale=1):
    def command(run):
        recipe = flags(freeze=freeze, epochs=epochs, lr=lr, seed=run.seed, sampling=sampling)
        return run.script("trainer.py", *folders(run), *recipe)

    return Opponent(name, command, scale=scale, agrees=scale == 1)


def logistic(run):
    return run.script("logistic.py", *folders(run))


# Heads of 64 as usual, of 32 in MiniLM.
HIDDEN = {256: 4, 384: 12, 768: 12, 1024: 16}
# As many tokens in each batch, so that what grows is attention.
SEQUENCE = {32: 64, 64: 32, 128: 16, 256: 8, 512: 4, 1024: 2, 2048: 1}

CASES = [
    encoder("encoder_step", "encoder", "step", Shape(), rounds=10, units=3),
    encoder("encoder_forward", "encoder", "forward", Shape(), rounds=10, units=3),
    encoder("encoder_step_8x128", "encoder", "step", Shape(batch=8, seq=128), rounds=10, units=3),
    encoder("encoder_step_4x512", "encoder", "step", Shape(batch=4, seq=512)),
    encoder("encoder_step_bf16", "encoder", "step", Shape(), rounds=10, units=3, precision="bf16"),
    # nanoGPT's small configuration for the CPU.
    decoder("gpt_step", Shape(network="gpt2", hidden=128, layers=4, heads=4, batch=12, seq=64)),
    finetune(
        "finetune_full",
        "MiniLM on banking77, everything trains, 1 epoch",
        freeze="nothing",
        epochs=1,
        lr="1e-4",
        theirs=(
            trainer("Trainer", "nothing", 1, "1e-4"),
            trainer("Trainer, grouped by length", "nothing", 1, "1e-4", sampling="group_by_length"),
        ),
    ),
    finetune(
        "finetune_frozen",
        "MiniLM on banking77, frozen, a head of 30 epochs",
        freeze="backbone",
        epochs=30,
        lr="1e-2",
        theirs=(
            Opponent("features once, scikit-learn", logistic),
            trainer("Trainer, 1 epoch times 30", "backbone", 1, "1e-2", scale=30),
        ),
    ),
    finetune(
        "finetune_bottom4",
        "MiniLM on banking77, embeddings and 4 of 6 layers frozen, 4 epochs",
        freeze="bottom:5",  # the embeddings are a stage too
        epochs=4,
        lr="1e-4",
        theirs=(trainer("Trainer, requires_grad off", "bottom:5", 4, "1e-4"),),
    ),
    embedding("embed", "embed", "2,000 texts to mean-pooled MiniLM vectors, tokenising included", "turns", 5),
    embedding("first_prediction", "first", "process start to the MiniLM vector of one sentence", "first", 10),
]
for hidden, heads in HIDDEN.items():
    for work in ["forward", "step"]:
        shape = Shape(hidden=hidden, heads=heads)
        CASES.append(encoder(f"hidden_{hidden}_{work}", "growth", work, shape, quick=False))
for seq, batch in SEQUENCE.items():
    for work in ["forward", "step"]:
        shape = Shape(batch=batch, seq=seq)
        CASES.append(encoder(f"sequence_{seq}_{work}", "growth", work, shape, quick=seq in (128, 512)))

# Named, so that nobody takes them for forgotten.
NOT_YET = {
    "finetune_lora": "the crate has no adapters yet",
}


def choose(names, quick):
    """The cases of these names or groups; all of them, or those of `--quick`, where none is named."""
    if not names:
        return [case for case in CASES if case.quick or not quick]
    known = {case.name for case in CASES} | {case.group for case in CASES}
    for name in names:
        if name in NOT_YET:
            raise SystemExit(f"error: case `{name}` is not there yet: {NOT_YET[name]}")
        if name not in known:
            cases, groups = (", ".join(dict.fromkeys(values)) for values in zip(*[(c.name, c.group) for c in CASES]))
            raise SystemExit(f"error: no case is called `{name}`\ncases: {cases}\ngroups: {groups}")
    return [case for case in CASES if case.name in names or case.group in names]
