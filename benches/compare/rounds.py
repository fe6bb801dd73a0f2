"""Runs the programs of a case in turn, A B A B, and keeps what each round took."""

import json
import os
import statistics
import subprocess
import sys
import time
from array import array
from dataclasses import dataclass, field

# Threads of the side that has just worked spin for a moment before they sleep.
SETTLE_SECONDS = 0.05
# Turns before the first round: the first ones set up threads, buffers and lazily initialised weights.
WARMUP_TURNS = 3


class Failed(Exception):
    """A program of a case went wrong."""


@dataclass
class Side:
    """What one program of a case came to: seconds a round, peak memory in MB, results."""

    name: str
    seconds: list = field(default_factory=list)
    peak_mb: float = 0.0
    # Values of the last run, or one accuracy a round.
    values: list = field(default_factory=list)
    # What the program itself says of each round.
    results: list = field(default_factory=list)


class Program:
    """A process, its standard error kept in a file."""

    def __init__(self, command, folder, environment):
        folder.mkdir(parents=True, exist_ok=True)
        self.command, self.log = [str(part) for part in command], folder / "stderr"
        self.start = time.perf_counter()
        with open(self.log, "wb") as log:
            pipe = subprocess.PIPE
            self.process = subprocess.Popen(
                self.command, stdin=pipe, stdout=pipe, stderr=log, env=environment, text=True
            )

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            self.finish()
            raise self.failed("ended before its time")
        return line.strip()

    def turn(self):
        """Seconds of one unit of work."""
        try:
            self.process.stdin.write("go\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # reading says what happened
        return float(self.read())

    def finish(self):
        """Waits for the end; peak resident memory in MB."""
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        self.process.stdout.read()
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        if self.process.returncode != 0:
            raise self.failed(f"exit status {self.process.returncode}")
        # What the kernel counts includes this driver's own size at the fork, some 25 MB: keep large imports out of it.
        return usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024)

    def kill(self):
        if self.process.returncode is None:
            self.process.kill()
            self.process.wait()

    def failed(self, why):
        tail = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-12:]
        return Failed(f"{' '.join(self.command)}\n{why}\n" + "\n".join(tail))


def read_values(path):
    values = array("f")
    values.frombytes(path.read_bytes())
    if sys.byteorder == "big":
        values.byteswap()
    return values.tolist()


def in_turns(case, opponents, run_of, rounds, environment):
    """Live workers: in each round every one does its units of work while the others wait."""
    names = ["ours", *(opponent.name for opponent in opponents)]
    commands = [case.ours, *(opponent.command for opponent in opponents)]
    sides, programs = [Side(name) for name in names], []
    try:
        for index, command in enumerate(commands):
            run = run_of(index, 1)
            programs.append(Program(command(run), run.folder, environment))
            programs[-1].read()  # the second one reads what the first one wrote before it was ready
        for _ in range(WARMUP_TURNS):
            for program in programs:
                program.turn()
        for _ in range(rounds):
            for side, program in zip(sides, programs):
                time.sleep(SETTLE_SECONDS)
                side.seconds.append(statistics.median(program.turn() for _ in range(case.units)))
        for index, (side, program) in enumerate(zip(sides, programs)):
            side.peak_mb = program.finish()
            side.values = read_values(run_of(index, 1).values)
    finally:
        for program in programs:
            program.kill()
    return sides


def turns_of(case, rounds):
    return WARMUP_TURNS + rounds * case.units


def as_processes(case, opponents, run_of, rounds, environment):
    """Whole processes, one after the other; round r has seed r on every side."""
    commands = [case.ours, *(opponent.command for opponent in opponents)]
    sides = [Side("ours"), *(Side(opponent.name) for opponent in opponents)]
    scales = [1, *(opponent.scale for opponent in opponents)]
    if case.kind == "first":  # the OS caches the files
        for index, command in enumerate(commands):
            one_process(case, Side(""), command, run_of(index, 1), 1, environment)
    for number in range(1, rounds + 1):
        for index, (side, command, scale) in enumerate(zip(sides, commands, scales)):
            one_process(case, side, command, run_of(index, number), scale, environment)
    return sides


def one_process(case, side, command, run, scale, environment):
    program = Program(command(run), run.folder, environment)
    try:
        if case.kind == "first":
            program.read()
            side.seconds.append(time.perf_counter() - program.start)
            side.peak_mb = max(side.peak_mb, program.finish())
            side.values = read_values(run.values)
            return
        side.peak_mb = max(side.peak_mb, program.finish())
        seconds = time.perf_counter() - program.start
    finally:
        program.kill()
    result = json.loads(run.result.read_text(encoding="utf-8"))
    training = result["report"]["seconds"] if "report" in result else result.get("train_seconds", 0.0)
    accuracy = result["test"]["accuracy"] if "test" in result else result["accuracy"]
    side.seconds.append(seconds + (scale - 1) * training)
    side.values.append(accuracy)
    side.results.append({"accuracy": accuracy, "training_s": round(training, 3)})
