"""Polars as an expert would script it: state as Parquet files, a full join for the diff, the new state replaces the old."""

import polars as pl

import step

SCHEMA = {"date": pl.Date, "county": pl.String, "state": pl.String, "fips": pl.String, "cases": pl.Int64, "deaths": pl.Int64}


def diff(old, new):
    """The rows that are not the same in both, with their values before and after."""
    before, after = old.lazy().with_columns(was=True), new.lazy().with_columns(now=True)
    both = before.join(after, on=step.KEY, how="full", coalesce=True, suffix="_new")
    differs = pl.any_horizontal(pl.col(c).ne_missing(pl.col(f"{c}_new")) for c in step.VALUES)
    added, gone = pl.col("was").is_null(), pl.col("now").is_null()
    op = pl.when(added).then(pl.lit("insert")).when(gone).then(pl.lit("delete")).otherwise(pl.lit("update"))
    return both.filter(added | gone | differs).with_columns(op=op).collect(engine="streaming")


def work(name, state, file):
    table = state / "counties.parquet"
    new = pl.read_csv(file, schema=SCHEMA)
    if name == "load":
        changes = new.with_columns(op=pl.lit("insert"))
        counts = step.counts(new.height, 0, 0, 0)
    else:
        old = pl.read_parquet(table)
        changes = diff(old, new)
        ops = dict(changes["op"].value_counts().iter_rows())
        added, updated, removed = (ops.get(op, 0) for op in ("insert", "update", "delete"))
        counts = step.counts(added, updated, removed, old.height - updated - removed)
    if changes.height:
        run = len(list(state.glob("history-*.parquet"))) + 1
        step.replace(state / f"history-{run}.parquet", changes.write_parquet)
        step.replace(table, new.write_parquet)
    return counts


step.run(work)
