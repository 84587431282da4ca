#!/usr/bin/env python3
"""report.py RESULTS.json TABLE.md CHART.svg: qnt beside the fastest other library of every cell.

RESULTS.json: a list of rows as qnt-bench prints them, its own (peer "qnt") and those of other libraries. A cell is a kind of weights
(int8, int4, nf4), a shape, M, a number of threads, and cold or hot weights. Rows whose activations were converted outside of the time
do not count; of a row measured while other processes worked the best sample counts, else the median. The table begins with the geometric means over all
shapes and the least share of the limit."""
import collections
import json
import sys

KINDS = (("int8", ("q8", "s8", "nbits8", "int8", "i8")), ("nf4", ("nf4", "iq4")), ("int4", ("q4", "nbits4", "int4", "i4")))
COLORS = {"int8": "#4c78a8", "int4": "#f58518", "nf4": "#54a24b"}


def kind_of(format_name):
    return next((kind for kind, begins in KINDS if format_name.lower().startswith(begins)), None)


def time_of(row):
    return row["min_us"] if row["other_cpu"] > 0.15 else row["median_us"]


def cells(rows):
    """[(kind, n, k, m, threads, cache, qnt's row, best other row)], one for each format of qnt."""
    groups = collections.defaultdict(list)
    for row in rows:
        if row["op"] == "matmul" and kind_of(row["format"]) and row.get("act", "f32").startswith("f32"):
            groups[kind_of(row["format"]), row["n"], row["k"], row["m"], row["threads"], row["cache"]].append(row)
    found = []
    for cell, members in groups.items():
        others = [row for row in members if row["peer"] != "qnt"]
        ours = [row for row in members if row["peer"] == "qnt" and "/" not in row["format"]]
        found += [(*cell, row, min(others, key=time_of)) for row in ours if others]
    return sorted(found, key=lambda c: (c[4], c[5], c[3], c[1] * c[2], c[1], c[6]["format"]))


def table(found):
    lines = ["| weights | N x K | M | threads | cache | us | of the limit | fastest other | us | ratio |", "|" + "---|" * 10]
    for _, n, k, m, threads, cache, ours, other in found:
        lines.append(f"| `{ours['format']}` | {n} x {k} | {m} | {threads} | {cache} | {time_of(ours):.1f} | {100 * ours['of_limit']:.0f} % | "
                     f"{other['peer']} {other['format']} | {time_of(other):.1f} | {time_of(other) / time_of(ours):.2f} |")
    return "\n".join(lines) + "\n"


def geometric_mean(ratios):
    mean = 1.0
    for ratio in ratios:
        mean *= ratio ** (1 / len(ratios))
    return mean


def means(found):
    """How many times as fast qnt is, and its least share of the limit, over all shapes."""
    groups = collections.defaultdict(list)
    for _, _, _, m, threads, cache, ours, other in found:
        groups[threads, cache, ours["format"], m].append((time_of(other) / time_of(ours), ours["of_limit"]))
    rows = sorted({key[2] for key in groups})
    columns = sorted({(threads, cache, m) for threads, cache, _, m in groups})
    lines = ["| weights | " + " | ".join(f"M = {m}, {cache}, {threads} T" for threads, cache, m in columns) + " |", "|" + "---|" * (1 + len(columns))]
    for name in rows:
        cells_of = [groups[threads, cache, name, m] for threads, cache, m in columns]
        texts = [f"{geometric_mean([r for r, _ in c]):.2f} ({100 * min(share for _, share in c):.0f} %)" if c else "" for c in cells_of]
        lines.append(f"| `{name}` | " + " | ".join(texts) + " |")
    return "\n".join(lines) + "\n"


def chart(found, title):
    """Bars of how many times as fast qnt is, one group for each M, hot or cold, and threads: the geometric mean over shapes."""
    groups = collections.defaultdict(lambda: collections.defaultdict(list))
    for kind, _, _, m, threads, cache, ours, other in found:
        groups[f"M={m} {cache}, {threads} T"][kind].append(time_of(other) / time_of(ours))
    bars = []
    for label, kinds in groups.items():
        for kind, ratios in sorted(kinds.items()):
            bars.append((label, kind, geometric_mean(ratios)))
    top, left, width, row = max(b[2] for b in bars), 170, 520, 16
    height = 60 + row * len(bars) + 10 * len(groups)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 70}" height="{height}" font-family="sans-serif" font-size="12">',
           "<style>text{fill:#222}.line{stroke:#888}@media(prefers-color-scheme:dark){text{fill:#ddd}}</style>",
           f'<text x="8" y="18" font-size="14">{title}</text>']
    y, last = 34, None
    for label, kind, ratio in bars:
        if label != last:
            y += 10
            out.append(f'<text x="8" y="{y + 11}">{label}</text>')
            last = label
        length = width * ratio / top
        out.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{row - 3}" fill="{COLORS[kind]}"/>'
                   f'<text x="{left + length + 5:.1f}" y="{y + 11}">{ratio:.2f}</text><text x="{left - 40}" y="{y + 11}">{kind}</text>')
        y += row
    x = left + width / top
    out.append(f'<line class="line" x1="{x:.1f}" x2="{x:.1f}" y1="30" y2="{y}" stroke-dasharray="4 3"/></svg>')
    return "\n".join(out) + "\n"


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    with open(sys.argv[1]) as file:
        rows = json.load(file)
    found = cells(rows)
    if not found:
        sys.exit("report.py: no cell has both a row of qnt and one of another library")
    with open(sys.argv[2], "w") as file:
        file.write(means(found) + "\n" + table(found))
    cpu = next(row["cpu"] for row in rows if row["peer"] == "qnt")
    with open(sys.argv[3], "w") as file:
        file.write(chart(found, f"Times as fast as the fastest other library, {cpu}"))


main()
