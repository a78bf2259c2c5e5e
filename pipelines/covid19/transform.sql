-- A day is in the table when both publishers have it; their newest days differ, which is normal.
-- A difference is given only against the day before: where that day is missing, it is unknown, not zero.
WITH days AS (
    SELECT nyt.date, nyt.cases, nyt.deaths, jhu.recovered
    FROM nyt
    JOIN jhu ON jhu.date = nyt.date
    WHERE jhu.country = 'US'
),
pairs AS (
    SELECT
        *,
        lag(date) OVER by_day = date - INTERVAL '1 day' AS follows,
        lag(cases) OVER by_day AS cases_before,
        lag(deaths) OVER by_day AS deaths_before,
        lag(recovered) OVER by_day AS recovered_before
    FROM days
    WINDOW by_day AS (ORDER BY date)
)
SELECT
    date,
    cases,
    deaths,
    recovered,
    CASE WHEN follows THEN cases - cases_before END AS cases_new,
    CASE WHEN follows THEN deaths - deaths_before END AS deaths_new,
    CASE WHEN follows THEN recovered - recovered_before END AS recovered_new
FROM pairs
ORDER BY date
