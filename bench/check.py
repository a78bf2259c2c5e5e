#!/usr/bin/env python3
"""Compares a peer's table with the publication, by nobody's own count: DuckDB reads both and subtracts one from the other.

    check.py PEER STATE_DIR FILE

prints one JSON line: `rows` of the table, `extra` rows it has and the publication has not, `missing` the other way round.
"""

import json
import sys
from pathlib import Path

import duckdb
from deltalake import DeltaTable

peer, state, file = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
COLUMNS = {"date": "DATE", "county": "VARCHAR", "state": "VARCHAR", "fips": "VARCHAR", "cases": "BIGINT", "deaths": "BIGINT"}

db = duckdb.connect()
db.execute(f"SET temp_directory = '{state / 'check.tmp'}'")
if peer == "duckdb":
    db.execute(f"ATTACH '{state / 'counties.duckdb'}' AS peer (READ_ONLY)")
    table = "peer.counties"
elif peer in ("polars", "pandas"):
    table = f"read_parquet('{state / 'counties.parquet'}')"
else:
    folder = state / ("home/tables/counties" if peer == "tidegate" else "lake/bench/counties")
    table = f"read_parquet({DeltaTable(folder).file_uris()})"
table = f"(SELECT {', '.join(COLUMNS)} FROM {table})"
published = f"read_csv('{file}', header = true, columns = {COLUMNS})"

(rows,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()
(extra,) = db.execute(f"SELECT count(*) FROM (FROM {table} EXCEPT ALL FROM {published})").fetchone()
(missing,) = db.execute(f"SELECT count(*) FROM (FROM {published} EXCEPT ALL FROM {table})").fetchone()
print(json.dumps({"rows": rows, "extra": extra, "missing": missing}))
