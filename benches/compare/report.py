"""Puts rows into `docs/src/benchmarks.md` between two comments, with pictures beside it."""

import statistics

import picture
from cases import NOT_YET

BEGIN, END = "<!-- comparison: begin; written by benches/compare/run --docs -->", "<!-- comparison: end -->"

GROWTH = (
    "- `hidden_N_*`, `sequence_N_*`: the network of `encoder_step` with hidden size N on 32 x 32 tokens, "
    "and on 2,048 tokens in rows of N."
)


def seconds(value):
    return f"{1000 * value:.1f} ms" if value < 1 else f"{value:.2f} s"


def lines_of(row):
    """Table lines of a row, one for each opponent."""
    for place, part in enumerate([row, *row["others"]]):
        name = "" if place else f"`{row['case']}`"
        ratio = f"**{part['ratio_median']:.2f}** ({part['ratio_min']:.2f} to {part['ratio_max']:.2f})"
        memory = f"{row['ours_peak_mb']:.0f} / {part['theirs_peak_mb']:.0f}"
        times = f"{seconds(row['ours_median_s'])} | {seconds(part['theirs_median_s'])}"
        yield f"| {name} | {part['theirs']} | {times} | {ratio} | {memory} | {agreement(row, part)} |"


def agreement(row, part):
    if row["compares"] == "accuracy":
        ours, theirs = row["ours_accuracy"], part["theirs_accuracy"]
        return f"accuracy {ours:.4f} / {theirs:.4f}" if part["agrees"] is not None else "not compared"
    return f"{row['compares']} {part['largest_difference']:.1e}"


def table(rows):
    head = ["| case | beside | here | there | ratio (rounds) | peak MB | difference |", "|---|---|---|---|---|---|---|"]
    return "\n".join(head + [line for row in rows for line in lines_of(row)])


def conditions(rows):
    """One paragraph for each set of conditions that rows were made under."""
    sets = {}
    for row in rows:
        at, versions = row["machine"], row["versions"]
        programs = ", ".join(f"{name} {version}" for name, version in versions.items())
        words = (
            f"{at['cpu']}, {at['cores']} cores, {at['memory_gb']} GB, {at['system']}; {row['threads']} threads each; "
            f"{programs}; commit {row['commit']}, {row['date']}. "
            f"Importing PyTorch and Transformers takes {row['import_mb']} MB"
        )
        sets.setdefault(words, []).append(row)
    paragraphs = []
    for words, made in sets.items():
        which = "" if len(sets) == 1 else f" So made: {', '.join(row['case'] for row in made)}."
        paragraphs.append(f"{words}. {elsewhere(made)}{which}")
    return "\n\n".join(paragraphs)


def elsewhere(rows):
    shares = [row["cpu_elsewhere"] for row in rows if row["cpu_elsewhere"] is not None]
    if not shares:
        return "What other programs took of the machine is not known."
    middle, most = (f"{100 * share:.1f} %" for share in (statistics.median(shares), max(shares)))
    return f"Other programs took {middle} of the machine during a case (the median; at most {most})."


def section(rows, pictures):
    alone = [row for row in rows if row["group"] != "growth"]
    cases = [f"- `{row['case']}`: {row['does']}; {row['rounds']} rounds." for row in alone]
    if len(alone) < len(rows):
        cases.append(GROWTH)
    missing = "\n".join(f"- `{name}`: {why}." for name, why in NOT_YET.items())
    quick = ["Some rows were made with `--quick`: two rounds, few texts."] if any(row["quick"] for row in rows) else []
    parts = [conditions(rows), *quick, *pictures, table(rows), "\n".join(cases), "Not there yet:", missing]
    return "\n\n".join([BEGIN, *parts, END])


def write(page, rows):
    """Renders the rows that were measured; the pictures lie beside the page."""
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise SystemExit(f"error: {page} needs each of these lines once:\n{BEGIN}\n{END}")
    rows = [row for row in rows if "error" not in row]
    main = [row for row in rows if row["group"] != "growth"]
    drawn = [
        ("benchmarks-ratios.svg", "time here over time there, a bar a case", picture.ratio_chart(main)),
        ("benchmarks-growth.svg", "time over hidden size and sequence length", picture.growth_chart(rows)),
    ]
    drawn = [(name, words, svg) for name, words, svg in drawn if svg]
    before, rest = text.split(BEGIN)
    text = before + section(rows, [f"![{words}]({name})" for name, words, _ in drawn]) + rest.split(END)[1]
    for name, _, svg in drawn:
        page.with_name(name).write_text(svg, encoding="utf-8")
    page.write_text(text, encoding="utf-8")
