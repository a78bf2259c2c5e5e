"""dlt as its users write it: the file as one Arrow table (its fastest way in) into a Delta table, by `merge`.

With `upsert`, the strategy in general use, every row found is rewritten and withdrawn rows stay. With DLT_STRATEGY=cdc it
also compares the rows and removes the withdrawn ones, which is Tidegate's job. In both cases dlt itself knows how many rows
it loaded and not what became of them, so the counts are null; `note` has what it says.
"""

import os

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"  # a benchmark calls nobody

import dlt
import pyarrow as pa
from pyarrow import csv

import step

STRATEGY = os.environ.get("DLT_STRATEGY", "upsert")
DISPOSITION = {"disposition": "merge", "strategy": STRATEGY, "skip_unchanged_rows": STRATEGY == "cdc"}
TYPES = {"date": pa.date32(), "county": pa.string(), "state": pa.string(), "fips": pa.string(), "cases": pa.int64(), "deaths": pa.int64()}


@dlt.resource(name="counties", write_disposition=DISPOSITION, primary_key=step.KEY, table_format="delta")
def counties(file):
    # An empty cell is null in text columns too, as for all the others.
    yield csv.read_csv(file, convert_options=csv.ConvertOptions(column_types=TYPES, null_values=[""], strings_can_be_null=True))


def work(name, state, file):
    state = state.resolve()
    lake = dlt.destinations.filesystem(str(state / "lake"))
    pipeline = dlt.pipeline("bench", pipelines_dir=str(state / "pipelines"), destination=lake, dataset_name="bench")
    pipeline.run(counties(file))
    loaded = pipeline.last_trace.last_normalize_info.row_counts["counties"]
    return step.counts() | {"note": f"says {loaded:,} rows loaded"}


step.run(work)
