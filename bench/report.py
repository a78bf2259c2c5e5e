"""Turns measurements into Markdown: medians, ratios, peaks, counts, and whether the bars are met."""

import os
import platform
import re
from dataclasses import dataclass
from importlib.metadata import version
from statistics import median

STEPS = {"load": "first load", "restate": "restated file", "again": "same file again"}
GIB, MIB = 1 << 30, 1 << 20
BIG = 10_000_000


@dataclass
class Results:
    """All that was measured in one go."""

    rows: int
    rounds: int
    peers: list
    expected: dict
    found: dict  # (peer, step): measurements
    failed: dict  # peer: (step, why, peak)
    tables: dict  # peer: what check.py says
    unchanged: dict | None

    def ratio(self, peer, step):
        """How many times Tidegate's time the peer took: the median over the rounds, since only neighbours in time compare."""
        ours = {m.round: m.seconds for m in self.found.get(("tidegate", step), [])}
        pairs = [m.seconds / ours[m.round] for m in self.found.get((peer, step), []) if m.round in ours]
        return median(pairs) if pairs else None

    def peak(self, peer):
        return max((m.peak for step in STEPS for m in self.found.get((peer, step), [])), default=0)

    def wrong(self, peer, step):
        """Counts that are not the generator's; none if the tool does not tell them."""
        wanted = self.expected[step]
        return [m.counts for m in self.found.get((peer, step), []) if None not in m.counts.values() and m.counts != wanted]

    def exact(self):
        """Whether Tidegate's counts are those of the generator, and its table is the publication."""
        if "tidegate" not in self.peers:
            return True
        table = self.tables.get("tidegate", {})
        same = table.get("extra") == 0 and table.get("missing") == 0
        return same and "tidegate" not in self.failed and not any(self.wrong("tidegate", step) for step in STEPS)

    def line(self, peer, step):
        measured = self.found.get((peer, step))
        if not measured:
            where, why, peak = self.failed.get(peer, (step, "not measured", 0))
            return [STEPS[step], peer, why if where == step else "not reached", "", "", f"{peak / MIB:,.0f} MiB" if where == step else "", ""]
        times = [m.seconds for m in measured]
        ratio = self.ratio(peer, step)
        if wrong := self.wrong(peer, step):
            said = f"WRONG: {counts(wrong[0])}"
        elif None in measured[0].counts.values():
            said = f"not told; {measured[0].note}"
        else:
            said = counts(measured[0].counts)
        peak = median(m.peak for m in measured)
        return [STEPS[step], peer, f"{median(times):.2f}", f"{min(times):.2f}–{max(times):.2f}", f"{ratio:.2f}" if ratio else "", f"{peak / MIB:,.0f} MiB", said]

    def bars(self):
        """The bars, each as (what, measured, whether it is met)."""
        dlt, duckdb = self.ratio("dlt", "restate"), self.ratio("duckdb", "restate")
        if dlt:
            yield "restated file: 4 times as fast as dlt or more", f"{dlt:.2f} times", dlt >= 4
        if duckdb:
            yield "restated file: no slower than the DuckDB script", f"{duckdb:.2f} times as fast", duckdb >= 1
        if "tidegate" in self.peers:
            yield "counts exact, table equals the publication", "yes" if self.exact() else "no", self.exact()
        if self.rows >= BIG and self.peak("tidegate"):
            yield "peak memory at 10 million rows under 1 GiB", f"{self.peak('tidegate') / MIB:,.0f} MiB", self.peak("tidegate") < GIB
        if self.unchanged and "error" not in self.unchanged:
            rerun = self.unchanged
            yield "unchanged rerun after a 304 under 50 ms", f"{rerun['median_ms']} ms ({rerun['fastest_ms']}–{rerun['slowest_ms']}, {rerun['reruns']} reruns)", rerun["median_ms"] < 50
            nothing = not rerun["bytes_written"] and not rerun["touched"] and rerun["answers_304"] == rerun["reruns"]
            touched = f", {len(rerun['touched'])} files or folders touched"
            yield "unchanged rerun writes nothing", f"{rerun['bytes_written']} bytes{touched}", nothing

    def markdown(self):
        machine = f"{os.cpu_count()} cores, {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / GIB:.0f} GiB, {platform.system()} {platform.machine()}"
        tools = ", ".join(f"{name} {version(name)}" for name in ("dlt", "deltalake", "duckdb", "polars", "pandas", "pyarrow"))
        lines = [f"## {self.rows:,} rows", "", f"{self.rounds} rounds; {machine}; Python {platform.python_version()}, {tools}.", ""]
        lines += table(
            ["step", "tool", "median s", "range s", "times Tidegate", "peak memory", "counts"],
            [self.line(peer, step) for step in STEPS for peer in self.peers],
        )
        lines += ["", "The table after the last step, against the publication:", ""]
        lines += table(["tool", "rows", "rows too many", "rows missing"], [self.check(peer) for peer in self.peers])
        if bars := list(self.bars()):
            lines += ["", *table(["bar", "measured", "met"], [[what, measured, "yes" if met else "**no**"] for what, measured, met in bars])]
        if self.unchanged and "error" in self.unchanged:
            lines += ["", f"The unchanged rerun could not be measured: {self.unchanged['error']}"]
        return "\n".join(lines)

    def check(self, peer):
        found = self.tables.get(peer, {"error": "not reached"})
        return [peer, found["error"], "", ""] if "error" in found else [peer, *(f"{found[name]:,}" for name in ("rows", "extra", "missing"))]


def counts(c):
    return f"+{c['new']:,} ~{c['updated']:,} −{c['removed']:,} ={c['unchanged']:,}"


def table(head, rows):
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def write(path, rows, section):
    """Puts the section into the file, in the place of the one with as many rows; others stay."""
    old = path.read_text() if path.exists() else ""
    sections = {int(re.match(r"## ([\d,]+)", text)[1].replace(",", "")): text.strip() for text in re.split(r"^(?=## )", old, flags=re.M) if text.startswith("## ")}
    sections[rows] = section
    head = "# Results\n\nWritten by `bench/run`; see [README.md](README.md) for what the columns mean.\n\n"
    path.write_text(head + "\n\n".join(text for _, text in sorted(sections.items())) + "\n")
