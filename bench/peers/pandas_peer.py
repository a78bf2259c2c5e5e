"""pandas as an expert would script it: Arrow types and reader, an outer merge for the diff, Parquet files as the state."""

import pandas as pd
import pyarrow as pa

import step

TEXT, NUMBER = pd.ArrowDtype(pa.string()), pd.ArrowDtype(pa.int64())
TYPES = {"date": pd.ArrowDtype(pa.date32()), "county": TEXT, "state": TEXT, "fips": TEXT, "cases": NUMBER, "deaths": NUMBER}
OPS = {"left_only": "delete", "right_only": "insert", "both": "update"}


def differs(a, b):
    """Whether two columns differ, row by row; nothing equals nothing."""
    return (a != b).fillna(False) | (a.isna() != b.isna())


def diff(old, new):
    """The rows that are not the same in both, with their values before and after."""
    both = old.merge(new, on=step.KEY, how="outer", sort=False, suffixes=("", "_new"), indicator="op")
    changed = both["op"] != "both"
    for name in step.VALUES:
        changed |= differs(both[name], both[f"{name}_new"])
    changes = both[changed]
    return changes.assign(op=changes["op"].map(OPS).astype(str))


def work(name, state, file):
    table = state / "counties.parquet"
    new = pd.read_csv(file, engine="pyarrow", dtype_backend="pyarrow", dtype=TYPES)
    if name == "load":
        changes = new.assign(op="insert")
        counts = step.counts(len(new), 0, 0, 0)
    else:
        old = pd.read_parquet(table, dtype_backend="pyarrow")
        changes = diff(old, new)
        ops = changes["op"].value_counts()
        added, updated, removed = (int(ops.get(op, 0)) for op in ("insert", "update", "delete"))
        counts = step.counts(added, updated, removed, len(old) - updated - removed)
    if len(changes):
        run = len(list(state.glob("history-*.parquet"))) + 1
        step.replace(state / f"history-{run}.parquet", lambda path: changes.to_parquet(path, index=False))
        step.replace(table, lambda path: new.to_parquet(path, index=False))
    return counts


step.run(work)
