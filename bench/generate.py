#!/usr/bin/env python3
"""Generates the two publications the benchmark reads; the same number of rows always gives the same bytes.

`first.csv` has the shape of the New York Times county file (date,county,state,fips,cases,deaths; sorted by date, state,
county; no newline at the end). `restated.csv` is what the publisher says a little later: the rows that follow, some rows
with other numbers, some rows gone. `expected.json` has the exact counts of each step.

    generate.py FOLDER [--rows 1000000]
"""

import argparse
import json
import random
from bisect import bisect_left
from datetime import date, timedelta
from math import exp
from pathlib import Path

NEW, CHANGED, WITHDRAWN = 1_874, 1_000, 500
RECENT_DAYS, RECENT_SHARE = 30, 0.8  # most restatements touch the last month; the rest reach back to the first day
FIRST_DAY = date(2020, 1, 21)
HEADER = "date,county,state,fips,cases,deaths"

# name: (FIPS code, number of counties)
STATES = {
    "Alabama": (1, 67), "Alaska": (2, 30), "Arizona": (4, 15), "Arkansas": (5, 75), "California": (6, 58), "Colorado": (8, 64),
    "Connecticut": (9, 8), "Delaware": (10, 3), "District of Columbia": (11, 1), "Florida": (12, 67), "Georgia": (13, 159),
    "Hawaii": (15, 5), "Idaho": (16, 44), "Illinois": (17, 102), "Indiana": (18, 92), "Iowa": (19, 99), "Kansas": (20, 105),
    "Kentucky": (21, 120), "Louisiana": (22, 64), "Maine": (23, 16), "Maryland": (24, 24), "Massachusetts": (25, 14),
    "Michigan": (26, 83), "Minnesota": (27, 87), "Mississippi": (28, 82), "Missouri": (29, 115), "Montana": (30, 56),
    "Nebraska": (31, 93), "Nevada": (32, 17), "New Hampshire": (33, 10), "New Jersey": (34, 21), "New Mexico": (35, 33),
    "New York": (36, 62), "North Carolina": (37, 100), "North Dakota": (38, 53), "Ohio": (39, 88), "Oklahoma": (40, 77),
    "Oregon": (41, 36), "Pennsylvania": (42, 67), "Puerto Rico": (72, 78), "Rhode Island": (44, 5), "South Carolina": (45, 46),
    "South Dakota": (46, 66), "Tennessee": (47, 95), "Texas": (48, 254), "Utah": (49, 29), "Vermont": (50, 14),
    "Virginia": (51, 133), "Washington": (53, 39), "West Virginia": (54, 55), "Wisconsin": (55, 72), "Wyoming": (56, 23),
}
# Places the publisher reports without a county code.
SPECIAL = {"New York": ["New York City"], "Missouri": ["Joplin", "Kansas City"], "Alaska": ["Yakutat plus Hoonah-Angoon"]}
STARTS = ["Ash", "Bell", "Carl", "Dal", "Eagle", "Fair", "Green", "Har", "Iron", "Jack", "King", "Lake", "Mar", "Nor", "Oak", "Pine", "Rock", "Stan"]
ENDS = ["bury", "dale", "field", "ford", "ham", "land", "ley", "mont", "port", "son", "stone", "ton", "view", "ville", "wood"]


class County:
    """A county: the fixed middle of its rows, the day of its first case, its size, and its numbers so far."""

    __slots__ = ("cells", "start", "weight", "cases", "dead", "no_deaths")

    def __init__(self, name, state, fips, rng):
        self.cells = f",{name},{state},{fips},"
        # Within eleven weeks nearly every county has its first case, most of them in the second half.
        self.start = int(77 * (1 - rng.random() ** 2 * rng.random()))
        self.weight = 0.4 * exp(rng.gauss(0, 1.3))
        self.cases, self.dead = 1.0, 0.0
        self.no_deaths = state == "Puerto Rico"  # published without deaths by municipality: an empty cell


def counties(rng):
    """All counties in the order of the file: by state, then by name."""
    names = [start + end for start in STARTS for end in ENDS]
    found = []
    for state, (code, count) in sorted(STATES.items()):
        here = {name: f"{code:02}{2 * i + 1:03}" for i, name in enumerate(sorted(rng.sample(names, count)))}
        if state == "New Mexico":
            here["Doña Ana"] = f"{code:02}999"
        here |= {name: "" for name in [*SPECIAL.get(state, []), "Unknown"]}
        found += [County(name, state, fips, rng) for name, fips in sorted(here.items())]
    found[0].start = 0
    return found


def rows_until(places, day):
    """Number of rows before `day`."""
    return sum(max(0, day - place.start) for place in places)


def days(places, rng):
    """The rows of one day after the other, without end; each row as (date and place, cases, deaths)."""
    noise = [rng.random() * 2 for _ in range(4093)]
    day = 0
    while True:
        # A wave each winter and a smaller one each summer, so that the numbers look like something.
        season = day % 365
        wave = 0.3 + 3 * exp(-(((season - 350) % 365 - 182) ** 2) / 1800) + exp(-((season - 180) ** 2) / 1200)
        text = (FIRST_DAY + timedelta(days=day)).isoformat()
        shift = day * 1_319
        rows = []
        for i, place in enumerate(places):
            if day >= place.start:
                more = place.weight * wave * noise[(shift + i * 31) % 4093]
                place.cases += more
                place.dead += more * 0.017
                rows.append((text + place.cells, int(place.cases), "" if place.no_deaths else int(place.dead)))
        yield rows
        day += 1


def draw(rng, rows, recent_from):
    """Picks the rows that are changed and those that are withdrawn: two disjoint lists of row numbers."""
    taken = set()
    for count, low in ((int((CHANGED + WITHDRAWN) * RECENT_SHARE), recent_from), (CHANGED + WITHDRAWN, 0)):
        while len(taken) < count:
            taken.add(rng.randrange(low, rows))
    # Shuffled, so that both kinds have the same share of recent rows on average; sorted first, because sets have no order.
    taken = sorted(taken)
    rng.shuffle(taken)
    return taken[:CHANGED], taken[CHANGED:]


def restate(rng, row):
    """The same row with another number; now and then a number disappears or appears, as it does in life."""
    place, cases, deaths = row
    how = rng.random()
    if how < 0.05:
        return place, cases, 0 if deaths == "" else ""
    if how < 0.3 and deaths != "":
        return place, cases, deaths + rng.randint(1, 9)
    return place, max(0, cases + rng.choice((-1, 1)) * rng.randint(1, 20)) if cases > 20 else cases + rng.randint(1, 20), deaths


def generate(folder, rows):
    """Writes the three files and returns the expected counts."""
    rng = random.Random(20200121)
    places = counties(rng)
    last_day = next(day for day in range(1 << 30) if rows_until(places, day + 1) >= rows)
    recent_from = rows_until(places, max(0, last_day + 1 - RECENT_DAYS))
    changed, withdrawn = draw(rng, rows, recent_from)
    touched = sorted(changed + withdrawn)
    withdrawn = set(withdrawn)

    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "first.csv", "w", encoding="utf-8", newline="") as first, open(folder / "restated.csv", "w", encoding="utf-8", newline="") as restated:
        first.write(HEADER)
        restated.write(HEADER)
        at = 0
        for day in days(places, rng):
            texts = [f"\n{place}{cases},{deaths}" for place, cases, deaths in day]
            first.write("".join(texts[: max(0, rows - at)]))
            # Only the rows that differ are made again: ten million rows must not take long.
            for number in touched[bisect_left(touched, at) : bisect_left(touched, at + len(day))]:
                if number in withdrawn:
                    texts[number - at] = ""
                else:
                    place, cases, deaths = restate(rng, day[number - at])
                    texts[number - at] = f"\n{place}{cases},{deaths}"
            restated.write("".join(texts[: max(0, rows + NEW - at)]))
            at += len(day)
            if at >= rows + NEW:
                break

    after = rows + NEW - WITHDRAWN
    expected = {
        "rows": {"load": rows, "restate": after, "again": after},
        "load": {"new": rows, "updated": 0, "removed": 0, "unchanged": 0},
        "restate": {"new": NEW, "updated": CHANGED, "removed": WITHDRAWN, "unchanged": rows - CHANGED - WITHDRAWN},
        "again": {"new": 0, "updated": 0, "removed": 0, "unchanged": after},
    }
    (folder / "expected.json").write_text(json.dumps(expected))
    return expected


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Generates the benchmark's data.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    args = parser.parse_args()
    if args.rows < 20_000:
        parser.error("--rows must be 20,000 or more, so that 1,500 of them can be restated")
    print(json.dumps(generate(args.folder, args.rows)["restate"]))
