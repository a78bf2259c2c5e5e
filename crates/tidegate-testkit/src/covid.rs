//! Generated publications in the exact formats of the reference pipeline's sources. The numbers are made up; their
//! accidents are of the kinds that happened.

use jiff::{ToSpan as _, civil::Date};
use std::fmt::Write as _;

/// The publisher's path of the New York Times file.
pub const NYT: &str = "/nytimes/covid-19-data/master/us.csv";
/// The publisher's path of the Johns Hopkins file.
pub const JHU: &str = "/datasets/covid-19/master/data/time-series-19-covid-combined.csv";

/// One publication.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The day on which it appears.
    pub day: Date,
    /// [`NYT`] or [`JHU`].
    pub path: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What is special about it, for people.
    pub remark: Option<&'static str>,
}

/// Cumulative numbers of a day: a smooth curve with a weekly rhythm, the same every time.
fn curve(day: i64, scale: i64) -> i64 {
    let weekly = [0, 3, 5, 6, 4, 1, -2][usize::try_from(day.rem_euclid(7)).unwrap_or(0)];
    scale * day * day + scale * day * 7 + weekly * scale
}

fn nyt(from: Date, days: i64, restated: &[(i64, i64)]) -> String {
    let mut out = String::from("date,cases,deaths");
    for day in 0..days {
        let extra: i64 = restated.iter().filter(|(at, _)| *at <= day).map(|(_, by)| by).sum();
        let _ = write!(out, "\n{},{},{}", from + day.days(), curve(day, 40) + extra, curve(day, 2));
    }
    out
}

fn jhu(from: Date, days: i64) -> String {
    let mut out = String::from("Date,Country/Region,Province/State,Lat,Long,Confirmed,Recovered,Deaths\r\n");
    for (country, province, scale) in [("Australia", "Victoria", 1), ("Namibia", "", 1), ("US", "", 12)] {
        for day in 0..days {
            let _ = write!(
                out,
                "{},{country},{province},37.0,-95.0,{},{},{}\r\n",
                from + day.days(),
                curve(day, scale),
                curve(day, scale) / 3,
                curve(day, 1)
            );
        }
    }
    out
}

/// A few dozen days of publications, with a late restatement, a wrong file, a truncated file, bad cells that heal, and a
/// source that is late.
pub fn publications() -> Vec<Publication> {
    let first = jiff::civil::date(2020, 3, 1);
    let start = 60;
    let mut out = Vec::new();
    let mut restated: Vec<(i64, i64)> = Vec::new();
    for step in 0..30 {
        let days = start + step;
        let day = first + days.days();
        let publish =
            |out: &mut Vec<Publication>, path, text: String, remark| out.push(Publication { day, path, bytes: text.into_bytes(), remark });
        match step {
            // The source is late: its new day comes with the next one's.
            7 => publish(&mut out, NYT, nyt(first, days, &restated), Some("Johns Hopkins is late today")),
            8 => {
                publish(&mut out, NYT, nyt(first, days, &restated), None);
                publish(&mut out, JHU, jhu(first - 1.days(), days), Some("Johns Hopkins catches up"));
            }
            11 => {
                restated.extend([(20, 15), (45, -4)]);
                publish(&mut out, NYT, nyt(first, days, &restated), Some("a restatement that reaches back weeks"));
                publish(&mut out, JHU, jhu(first - 1.days(), days), None);
            }
            15 => {
                let live = format!("date,cases,deaths,confirmed_cases,confirmed_deaths\n{day},{},{},,", curve(days, 40), curve(days, 2));
                publish(&mut out, NYT, live, Some("the wrong file: one day of other data"));
                publish(&mut out, NYT, nyt(first, days, &restated), Some("half an hour later, the right file"));
                publish(&mut out, JHU, jhu(first - 1.days(), days), None);
            }
            19 => {
                let text =
                    nyt(first, days, &restated).replacen(&format!("{},", first + 30.days()), &format!("{},n/a ", first + 30.days()), 1);
                publish(&mut out, NYT, text, Some("a cell that is no number"));
                publish(&mut out, JHU, jhu(first - 1.days(), days), None);
            }
            20 => {
                publish(&mut out, NYT, nyt(first, days, &restated), Some("the publisher mended the cell"));
                publish(&mut out, JHU, jhu(first - 1.days(), days), None);
            }
            24 => {
                let whole = jhu(first - 1.days(), days);
                let cut = whole[..whole.len() * 7 / 8].to_owned();
                publish(&mut out, NYT, nyt(first, days, &restated), None);
                publish(&mut out, JHU, cut, Some("a truncated file"));
            }
            27 => {
                publish(
                    &mut out,
                    NYT,
                    nyt(first, days, &restated).replace("date,cases,deaths", "date,cases,fatalities"),
                    Some("a column was renamed without a word"),
                );
                publish(&mut out, NYT, nyt(first, days, &restated), Some("and named back"));
                publish(&mut out, JHU, jhu(first - 1.days(), days), None);
            }
            _ => {
                publish(&mut out, NYT, nyt(first, days, &restated), None);
                publish(&mut out, JHU, jhu(first - 1.days(), days), None);
            }
        }
    }
    out
}
