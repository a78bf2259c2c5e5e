"""DuckDB as an expert would script it: one full join against the file, changes applied in place, all in one transaction.

It does what Tidegate does: table, history with the values before and after, exact counts. It does not look for contradicting
rows with the same key, nor keep the publication: both favour DuckDB.
"""

import duckdb

import step

TYPES = "{'date': 'DATE', 'county': 'VARCHAR', 'state': 'VARCHAR', 'fips': 'VARCHAR', 'cases': 'BIGINT', 'deaths': 'BIGINT'}"

LOAD = """
CREATE TABLE counties AS FROM {csv};
CREATE TABLE history AS
    SELECT 1 AS run, 'insert' AS op, *, NULL::VARCHAR AS fips_before, NULL::BIGINT AS cases_before, NULL::BIGINT AS deaths_before
    FROM counties;
"""

# The changed row's number is kept, so that the row need not be searched a second time.
DIFF = """
CREATE TEMP TABLE changes AS
    SELECT CASE WHEN old.date IS NULL THEN 'insert' WHEN new.date IS NULL THEN 'delete' ELSE 'update' END AS op,
        date, county, state, new.fips, new.cases, new.deaths,
        old.fips AS fips_before, old.cases AS cases_before, old.deaths AS deaths_before, old.rowid AS place
    FROM {csv} new FULL JOIN counties old USING (date, county, state)
    WHERE old.date IS NULL OR new.date IS NULL OR new.fips IS DISTINCT FROM old.fips
        OR new.cases IS DISTINCT FROM old.cases OR new.deaths IS DISTINCT FROM old.deaths;
"""

APPLY = """
DELETE FROM counties USING changes WHERE op = 'delete' AND counties.rowid = place;
UPDATE counties SET fips = changes.fips, cases = changes.cases, deaths = changes.deaths
    FROM changes WHERE op = 'update' AND counties.rowid = place;
INSERT INTO counties SELECT date, county, state, fips, cases, deaths FROM changes WHERE op = 'insert';
INSERT INTO history SELECT (SELECT max(run) + 1 FROM history), * EXCLUDE (place) FROM changes;
"""


def work(name, state, file):
    with duckdb.connect(state / "counties.duckdb") as db:
        csv = f"read_csv('{file}', header = true, columns = {TYPES})"
        db.begin()
        if name == "load":
            db.execute(LOAD.format(csv=csv))
            (new,) = db.execute("SELECT count(*) FROM counties").fetchone()
            counts = step.counts(new, 0, 0, 0)
        else:
            db.execute("SET preserve_insertion_order = false")  # changes may come in any order: less memory, a little faster
            (before,) = db.execute("SELECT count(*) FROM counties").fetchone()
            db.execute(DIFF.format(csv=csv))
            ops = dict(db.execute("SELECT op, count(*) FROM changes GROUP BY op").fetchall())
            if ops:
                db.execute(APPLY)
            new, updated, removed = (ops.get(op, 0) for op in ("insert", "update", "delete"))
            counts = step.counts(new, updated, removed, before - updated - removed)
        db.commit()
    return counts  # closing has moved the changes from the write-ahead log into the database file


step.run(work)
