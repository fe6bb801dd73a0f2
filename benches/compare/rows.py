"""From what was measured to a row of the result, and what the machine is."""

import datetime
import importlib.metadata
import math
import os
import platform
import resource
import statistics
import subprocess
import time
import tomllib

from rounds import Failed


def difference(compares, ours, theirs):
    """Of mean accuracies, or the largest one as a share of the largest value."""
    if compares == "accuracy":
        return abs(statistics.mean(ours) - statistics.mean(theirs))
    if len(ours) != len(theirs) or not ours:
        raise Failed(f"{len(ours)} {compares} here, {len(theirs)} there")
    if not all(map(math.isfinite, [*ours, *theirs])):
        raise Failed(f"some of the {compares} are not finite")
    differences = [abs(a - b) for a, b in zip(ours, theirs)]
    return max(differences) / (max(map(abs, theirs)) or 1)


def ratios(ours, theirs):
    """The ratio of the medians; the lowest and the highest of a round. The first always lies between the others."""
    rounds = [a / b for a, b in zip(ours.seconds, theirs.seconds)]
    return statistics.median(ours.seconds) / statistics.median(theirs.seconds), min(rounds), max(rounds)


def against(case, ours, theirs, opponent, tolerance):
    """The fields of a row that speak of one opponent."""
    median, low, high = ratios(ours, theirs)
    found = difference(case.compares, ours.values, theirs.values) if opponent.agrees else None
    fields = {
        "theirs": theirs.name,
        "theirs_median_s": statistics.median(theirs.seconds),
        "ratio_median": median,
        "ratio_min": low,
        "ratio_max": high,
        "theirs_peak_mb": theirs.peak_mb,
        "largest_difference": found,
        "tolerance": tolerance if opponent.agrees else None,
        "agrees": None if found is None else found <= tolerance,
        "theirs_seconds": theirs.seconds,
    }
    if opponent.scale != 1:
        fields["scaled"] = f"seconds of training times {opponent.scale}"
    if case.compares == "accuracy":
        fields["theirs_accuracy"] = statistics.mean(theirs.values)
        fields["theirs_training_s"] = statistics.median(result["training_s"] for result in theirs.results)
    return {name: rounded(value) for name, value in fields.items()}


def row(case, sides, opponents, rounds, tolerance, facts):
    """The row of a case; further opponents are under `others`."""
    ours, main, *others = sides
    fields = {"case": case.name, "group": case.group, "does": case.does, "rounds": rounds}
    fields |= {"ours_median_s": rounded(statistics.median(ours.seconds))}
    first, *rest = [against(case, ours, side, opponent, tolerance) for side, opponent in zip(sides[1:], opponents)]
    fields |= first
    fields |= {"ours_peak_mb": rounded(ours.peak_mb), "ours_seconds": rounded(ours.seconds), "compares": case.compares}
    if case.compares == "accuracy":
        fields["ours_accuracy"] = rounded(statistics.mean(ours.values))
        fields["ours_training_s"] = statistics.median(result["training_s"] for result in ours.results)
    return fields | {"others": rest} | facts


class Elsewhere:
    """The share of all cores that programs other than ours take from now on, where the system tells (Linux)."""

    def __init__(self):
        self.before = self.now()

    def share(self):
        after = self.now()
        if self.before is None or after is None:
            return None
        busy, ours, wall = (b - a for a, b in zip(self.before, after))
        return round(max(0.0, busy - ours) / (wall * os.cpu_count()), 3)

    @staticmethod
    def now():
        """Seconds: of work on all cores, stolen ones included; of our own processes that have ended; of the clock."""
        try:
            with open("/proc/stat", encoding="ascii") as lines:
                user, nice, system, _, _, irq, soft, steal = map(int, lines.readline().split()[1:9])
        except (OSError, ValueError):
            return None
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        ours = sum(usage.ru_utime + usage.ru_stime for usage in used)
        busy = (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")
        return busy, ours, time.monotonic()


def rounded(value):
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def machine(root, threads, import_mb):
    """Where and with what the rows were made."""
    with open(root / "Cargo.lock", "rb") as file:
        packages = {package["name"]: package["version"] for package in tomllib.load(file)["package"]}
    commit = output("git", "-C", root, "rev-parse", "--short", "HEAD")
    if output("git", "-C", root, "status", "--porcelain", "--untracked-files=no"):
        commit += " with changes"
    python = ["torch", "transformers", "scikit-learn", "onnxruntime"]
    versions = {name: importlib.metadata.version(name) for name in python}
    return {
        "machine": {
            "cpu": processor(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "threads": threads,
        "import_mb": import_mb,
        "versions": {"burn": packages["burn"], "rustc": output("rustc", "--version").split()[1], **versions},
        "commit": commit,
        "date": datetime.date.today().isoformat(),
    }


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
