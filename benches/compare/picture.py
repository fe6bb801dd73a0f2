"""Draws rows as SVG: the ratio of each case with its spread, and how cost grows with size."""

import math
from html import escape

INK, FAINT, GRID = "#222222", "#666666", "#dddddd"
OURS, THEIRS = "#0072b2", "#d55e00"
FONT = 'font-family="sans-serif"'
LEFT, WIDTH, ROW, TOP = 300, 460, 24, 56


def text(x, y, words, size=12, anchor="start", color=INK):
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{color}" {FONT}>{escape(words)}</text>'


def line(x1, y1, x2, y2, color, more=""):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}"{more}/>'


def picture(width, height, title, parts):
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img">'
    background = f'<title>{escape(title)}</title><rect width="100%" height="100%" fill="white"/>'
    return "\n".join([head, background, text(16, 28, title, 16), *parts, "</svg>", ""])


def opponents(row):
    """(label, ratio, lowest, highest) of a row, a further opponent a line."""
    for place, part in enumerate([row, *row["others"]]):
        label = f"{row['case']} / {part['theirs']}" if place or part["theirs"] != "PyTorch" else row["case"]
        yield label, part["ratio_median"], part["ratio_min"], part["ratio_max"]


def ratio_chart(rows):
    """A bar a case, ours / theirs on a logarithmic axis; left of the line at 1 the crate is faster; None without rows."""
    bars = [bar for row in rows for bar in opponents(row)]
    if not bars:
        return None
    lowest = min(0.5, *(low for _, _, low, _ in bars))
    highest = max(2.0, *(high for _, _, _, high in bars))
    low, high = math.log(lowest) - 0.1, math.log(highest) + 0.1

    def place(ratio):
        return LEFT + WIDTH * (math.log(ratio) - low) / (high - low)

    bottom = TOP + ROW * len(bars)
    parts = []
    for tick in [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10]:
        if lowest <= tick <= highest:
            parts.append(line(place(tick), TOP, place(tick), bottom, INK if tick == 1 else GRID))
            parts.append(text(place(tick), bottom + 16, f"{tick:g}", 11, "middle", FAINT))
    for index, (label, ratio, least, most) in enumerate(bars):
        y = TOP + ROW * index + ROW / 2
        start, end = sorted([place(ratio), place(1)])
        color = OURS if ratio <= 1 else THEIRS
        parts.append(text(LEFT - 10, y + 4, label, 12, "end"))
        parts.append(f'<rect x="{start:.1f}" y="{y - 7:.1f}" width="{end - start:.1f}" height="14" fill="{color}"/>')
        parts.append(line(place(least), y, place(most), y, INK, ' stroke-width="1.5"'))
        parts.append(text(LEFT + WIDTH + 12, y + 4, f"{ratio:.2f}"))
    caption = "time here / time there; the thin line is the spread of the rounds"
    parts.append(text(LEFT + WIDTH / 2, bottom + 36, caption, 11, "middle", FAINT))
    return picture(LEFT + WIDTH + 60, bottom + 50, "Time beside PyTorch (below 1: faster here)", parts)


def growth(rows, series, work):
    """(size, ours, theirs) of one series, by size."""
    points = []
    for row in rows:
        parts = row["case"].split("_")
        if len(parts) == 3 and parts[0] == series and parts[2] == work:
            points.append((int(parts[1]), row["ours_median_s"], row["theirs_median_s"]))
    return sorted(points)


def growth_chart(rows):
    """Milliseconds over hidden size and over sequence length, both axes logarithmic; None without two points."""
    panels = {"hidden": "hidden size (1,024 tokens)", "sequence": "sequence length (2,048 tokens a batch)"}
    found = {series: {work: growth(rows, series, work) for work in ("step", "forward")} for series in panels}
    parts, x = [], 80
    for series, label in panels.items():
        points = [point for values in found[series].values() for point in values]
        if len({point[0] for point in points}) >= 2:
            parts += panel(x, label, found[series])
            x += 400
    if not parts:
        return None
    for index, (name, color) in enumerate([("here", OURS), ("PyTorch", THEIRS)]):
        parts.append(line(80 + 90 * index, 46, 104 + 90 * index, 46, color, ' stroke-width="2"'))
        parts.append(text(108 + 90 * index, 50, name))
    parts.append(text(270, 50, "solid: training step, dashed: inference", 12, "start", FAINT))
    return picture(max(x - 20, 560), 400, "Growth of cost", parts)


def panel(left, label, works):
    width, height, top = 300, 260, 76
    points = [point for values in works.values() for point in values]
    xs = sorted({point[0] for point in points})
    ms = [1000 * value for point in points for value in point[1:]]
    bounds = [(math.log(min(values)), math.log(max(values))) for values in (xs, ms)]

    def spot(size, milliseconds):
        shares = [(math.log(value) - a) / (b - a or 1) for value, (a, b) in zip((size, milliseconds), bounds)]
        return left + width * shares[0], top + height * (1 - shares[1])

    parts = []
    for size in xs:
        x, _ = spot(size, min(ms))
        parts += [line(x, top, x, top + height, GRID), text(x, top + height + 16, str(size), 11, "middle", FAINT)]
    ticks = [base * 10**power for power in range(5) for base in (1, 2, 5)]
    for tick in (tick for tick in ticks if min(ms) <= tick <= max(ms)):
        _, y = spot(xs[0], tick)
        parts += [line(left, y, left + width, y, GRID), text(left - 6, y + 4, f"{tick} ms", 11, "end", FAINT)]
    for work, dash in [("step", ""), ("forward", ' stroke-dasharray="5 4"')]:
        for column, color in [(1, OURS), (2, THEIRS)]:
            places = " ".join("{:.1f},{:.1f}".format(*spot(point[0], 1000 * point[column])) for point in works[work])
            parts.append(f'<polyline points="{places}" fill="none" stroke="{color}" stroke-width="2"{dash}/>')
    return [*parts, text(left + width / 2, top + height + 36, label, 12, "middle")]
