"""Turns what was measured into load.md: what it is, the numbers, and whether the bars are met."""

import os
import platform
import re
import statistics

from .numbers import percentile

MB, GB = 10**6, 10**9
RATE = 200_000  # rows per second
VISIBLE = 2.0  # seconds, 99 of 100
FLAT = 1.1  # the last minute's memory, as a multiple of the second one's
CORE, MEMORY, PIPELINES = 0.02, 200 * MB, 1000
LONG, MINUTES = 60, 10  # seconds and minutes below which a bar about lasting things is not decided
ENOUGH = 0.8  # of the polls that are due in the measured time; with fewer it was not what is to be measured
IN_MEMORY = ("tmpfs", "ramfs")
HOW = {
    "Push": "CSV bodies of 1,000 rows (an id, a time, a number; about 47 kB), each with an `Idempotency-Key`, into a table of mode `append` without a key.",
    "Idle": "Pipelines with one `http` source each and the trigger `source_change`; the publisher answers every request with 304.",
    "Events": "Subscribers of `GET /v1/events`. Live: pauses and resumes make events as fast as they are answered. Backlog: all of them are read again, from 0.",
}

HEAD = """\
# Load

Written by `bench/load`; see [README.md](README.md#load) for how it is measured. The load generator works on the same cores as the service; what it took of
them is told beside. Processor time is in cores: 1 is one core all the time. MB are 10⁶ bytes.
"""


def table(head, rows):
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def ms(seconds):
    return "" if seconds is None else f"{seconds * 1000:,.1f} ms" if seconds < 0.1 else f"{seconds:,.2f} s"


def both(values):
    return f"{ms(percentile(values, 0.5))} / {ms(percentile(values, 0.99))}" if values else ""


def mb(size):
    return f"{size / MB:,.0f} MB" if size else ""


def machine(version, kind):
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return f"{version}; {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, {kind}; Python {platform.python_version()}."


def verdict(result, what, measured, met, undecided=None):
    """One line of the bars. What is not correct meets nothing, and what was measured too briefly decides nothing."""
    if result.problems:
        return [what, "void: not correct, see above", "**no**"]
    if undecided:
        return [what, measured, f"not decided: {undecided}"]
    return [what, measured, "yes" if met else "**no**"]


def problems(results, label):
    lines = [f"- **{label(result)}**: {problem}" for result in results for problem in result.problems]
    return ["", "Not correct:", "", *lines] if lines else []


# Push


def push(results, disk):
    rows = [
        ["rows accepted per second", *(f"{one.rate:,.0f}" for one in results)],
        ["of these in the median / the slowest second", *(slowest(one) for one in results)],
        ["rows that came into the table per second meanwhile", *(f"{one.visible_rate:,.0f}" for one in results)],
        ["until all was in the table, after the end of pushing", *(f"{one.drain:,.1f} s" for one in results)],
        ["until the answer 202, median / 99 of 100", *(both(one.answers) for one in results)],
        ["from 202 until visible, median / 99 of 100", *(both(one.waits) for one in results)],
        ["answers 429", *(f"{sum(one.refused):,}" for one in results)],
        ["other answers", *(", ".join(f"{count} {what}" for what, count in one.other.items()) or "none" for one in results)],
        ["runs", *(f"{one.runs:,}" for one in results)],
        ["cores: service / load generator", *(f"{one.cores:.2f} / {one.client_cores:.2f}" for one in results)],
        ["most memory", *(mb(one.peak) for one in results)],
        ["disk for 10 minutes at this rate", *(f"{ten_minutes(one) / GB:,.1f} GB" for one in results)],
        ["all accepted rows in the table exactly once, none in quarantine", *("**no**" if one.problems else "yes" for one in results)],
    ]
    lines = table(["", *(label(one) for one in results)], rows)
    lines += limit(next((one for one in results if one.minutes and one.name == "limit"), None))
    lines += [f"\n{label(one)}: {one.stopped}." for one in results if one.stopped]
    lines += problems(results, label)
    return [*lines, "", *table(["bar", "measured", "met"], [bar for one in results for bar in push_bars(one, disk)])]


def label(one):
    how = {"closed": "as fast as it goes", "open": f"{one.offered or 0:,.0f} rows/s offered", "limit": "at the limit"}[one.name]
    return f"{how}, {one.seconds:,.0f} s"


def slowest(one):
    return f"{statistics.median(one.seconds_of_it):,.0f} / {min(one.seconds_of_it):,.0f}" if one.seconds_of_it else ""


def ten_minutes(one):
    return one.disk / one.accepted * one.rate * 600 if one.accepted else 0


def limit(one):
    if not one:
        return []
    rows = [
        [str(minute + 1), f"{rate:,.0f}", mb(memory), f"{refused:,}"]
        for minute, (rate, memory, refused) in enumerate(zip(one.minutes, one.memory_minutes, one.refused))
    ]
    return ["", "At the limit, by minute:", "", *table(["minute", "rows accepted per second", "memory, median", "answers 429"], rows)]


def push_bars(one, disk):
    volatile = f"the home folder was on {disk}" if disk in IN_MEMORY else None
    short = f"{one.seconds:,.0f} s only" if one.seconds < LONG else None
    if one.name == "open":
        what, measured = f"{RATE:,} rows/s offered are accepted", f"{one.rate:,.0f} rows/s"
        other = None if one.offered == RATE else f"{one.offered:,.0f} rows/s were offered"
        kept_up = one.rate >= 0.99 * RATE
        yield verdict(one, what, measured, kept_up, other or short or volatile)
        p99 = percentile(one.waits, 0.99)
        met = kept_up and p99 is not None and p99 < VISIBLE
        yield verdict(one, f"meanwhile 99 of 100 pushes visible within {VISIBLE:.0f} s", ms(p99), met, other or short)
        return
    brief = f"{one.seconds / 60:.1f} minutes only" if one.seconds < 60 * MINUTES else None
    lasting = brief if one.name == "limit" else short
    yield verdict(one, f"more than {RATE:,} rows/s accepted durably, {label(one)}", f"{one.rate:,.0f} rows/s", one.rate > RATE, lasting or volatile)
    if one.name == "limit":
        yield flat(one, brief)


def flat(one, brief):
    what = f"memory flat over {MINUTES} minutes: the last one's median at most {FLAT - 1:.0%} above the second one's"
    if len(one.memory_minutes) < 3:
        return verdict(one, what, f"at most {mb(one.peak)}", False, brief or "too short")
    second, last = one.memory_minutes[1], one.memory_minutes[-1]
    return verdict(one, what, f"{mb(second)}, then {mb(last)}; at most {mb(one.peak)}", last <= FLAT * second, brief)


# Idle


def idle(results, pipelines):
    rows = [
        [
            f"every {one.every}, {'restarted' if one.restarted else 'loaded everything before'}",
            f"{one.seconds:,.0f} s",
            f"{one.polls:,} ({one.polls / one.seconds:.2f}/s)" if one.seconds else "",
            f"{one.share:.2%}" if one.seconds else "",
            mb(one.memory),
            mb(one.peak),
            f"{one.client_cpu / one.seconds:.2%}" if one.seconds else "",
        ]
        for one in results
    ]
    head = ["polled", "measured for", "polls", "of one core", "memory, median", "most", "publisher, of one core"]
    lines = [f"{pipelines:,} pipelines.", "", *table(head, rows)]
    lines += [
        f"\nUntil all had published for the first time: {one.first_load:,.0f} s, with at most {mb(one.first_peak)}." for one in results if one.first_load
    ]
    lines += problems(results, lambda one: f"every {one.every}")
    return [*lines, "", *table(["bar", "measured", "met"], [bar for one in results for bar in idle_bars(one, pipelines)])]


def idle_bars(one, pipelines):
    few = f"{pipelines:,} pipelines only" if pipelines < PIPELINES else None
    short = "less than one period" if one.seconds < one.period else None
    short = short or (f"only {one.polls:,} of {one.expected:,.0f} polls that were due" if one.polls < ENOUGH * one.expected else None)
    what = f"{PIPELINES:,} idle pipelines, polled every {one.every}"
    yield verdict(one, f"{what}: under {CORE:.0%} of a core", f"{one.share or 0:.2%}", one.seconds > 0 and one.share < CORE, few or short)
    yield verdict(one, f"{what}: under {mb(MEMORY)}", mb(one.peak), 0 < one.peak < MEMORY, few)


# Events


def events(results):
    rows = [
        [
            one.kind,
            str(one.subscribers),
            f"{one.produced:,} ({one.produced_rate:,.0f}/s)" if one.produced else "",
            f"{one.delivered:,}",
            f"{one.delivered_rate:,.0f}",
            f"{ms(one.p50)} / {ms(one.p99)}" if one.p50 is not None else "",
            f"{one.cpu:,.1f} s / {one.client_cpu:,.1f} s",
            mb(one.peak),
        ]
        for one in results
    ]
    head = ["", "subscribers", "events made", "delivered", "delivered per second", "from the answer to receipt, median / 99 of 100"]
    lines = table([*head, "processor: service / load generator", "most memory"], rows)
    lines += problems(results, lambda one: f"{one.kind}, {one.subscribers} subscribers")
    right = all(not one.problems and one.delivered for one in results)
    bar = ["every subscriber gets every event once and in order", f"{sum(one.delivered for one in results):,} deliveries", "yes" if right else "**no**"]
    return [*lines, "", *table(["bar", "measured", "met"], [bar])]


# The file


def section(title, version, disk, lines):
    return "\n".join([f"## {title}", "", HOW[title], "", machine(version, disk), "", *lines])


def write(path, title, text):
    """Puts the section into the file, in the place of the one with this title; others stay."""
    old = path.read_text() if path.exists() else ""
    found = {re.match(r"## (.+)", part)[1]: part.strip() for part in re.split(r"^(?=## )", old, flags=re.M) if part.startswith("## ")}
    found[title] = text
    order = sorted(found, key=lambda title: (["Push", "Idle", "Events"] + [title]).index(title))
    path.write_text(HEAD + "\n" + "\n\n".join(found[title] for title in order) + "\n")
