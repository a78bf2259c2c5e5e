//! A year of the service in a few seconds: scheduler, queue and outbox on a clock of the test's own.

use super::*;
use crate::{Home, Ledger, Positions};
use async_trait::async_trait;
use jiff::{Span, civil::date};
use std::path::Path;
use tidegate_core::{
    Code, Counts, SourceReceipt,
    changes::{Change, Restatement},
    message::{Message, Rendered},
    pipeline::{Template, load},
    schedule::time_zone,
    seam::{DataPlane, Destination, Destinations, NoProgress, Notifier, Outside, Parsed, Prepared, Receiver, Renderer, Source, Work},
};

/// The time, as the test sets it.
type Hands = Arc<Mutex<Timestamp>>;

/// A data plane that finds every publication to be what the table says already.
struct NothingNew;

#[async_trait]
impl DataPlane for NothingNew {
    async fn prepare(&self, work: Work) -> std::result::Result<Prepared, Failure> {
        let parsed = Parsed { receipt: SourceReceipt { read: 1, accepted: 1, ..SourceReceipt::default() }, ..Parsed::default() };
        Ok(Prepared {
            sources: work.sources.iter().map(|source| (source.name.clone(), parsed.clone())).collect(),
            rejected: Vec::new(),
            healed: Default::default(),
            produced: 0,
            counts: Counts::default(),
            rows_before: 0,
            rows_after: 0,
            violations: Vec::new(),
            changeset: None,
            restatement: Restatement::default(),
            sample: Vec::new(),
        })
    }

    async fn changes(&self, _: &Arc<Pipeline>, _: &Path, _: u64, _: usize) -> std::result::Result<Vec<Change>, Failure> {
        Ok(Vec::new())
    }
}

/// A world in which every look at a source gives something new, and every third delivery is refused.
struct Lively {
    hands: Hands,
    looks: Mutex<u64>,
    tries: Arc<Mutex<u64>>,
    told: Arc<Mutex<Vec<String>>>,
}

struct Refusing {
    tries: Arc<Mutex<u64>>,
    told: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Notifier for Refusing {
    async fn send(&self, id: &str, _: &Message, _: &Rendered) -> std::result::Result<(), Failure> {
        let mut tries = self.tries.lock().unwrap();
        *tries += 1;
        if tries.is_multiple_of(3) {
            return Err(Failure::new(Code::TG601, "not now"));
        }
        self.told.lock().unwrap().push(id.to_owned());
        Ok(())
    }
}

impl Renderer for Lively {
    fn render(&self, _: &Message, _: Option<&Template>) -> std::result::Result<Rendered, Failure> {
        Ok(Rendered { subject: String::new(), text: String::new(), html: String::new() })
    }
}

impl Outside for Lively {
    fn source(&self, _: &Pipeline, _: &str) -> std::result::Result<Box<dyn Source>, Failure> {
        let mut looks = self.looks.lock().unwrap();
        *looks += 1;
        Ok(Box::new(tidegate_testkit::fakes::MemorySource {
            bytes: Some(format!("{} {}", self.hands.lock().unwrap(), looks).into_bytes()),
        }))
    }

    fn subscriber(&self, _: &Pipeline, _: usize) -> std::result::Result<Box<dyn Receiver>, Failure> {
        Ok(Box::new(tidegate_testkit::fakes::Taker::default()))
    }

    fn notifier(&self, _: &Pipeline, _: usize) -> std::result::Result<Box<dyn Notifier>, Failure> {
        Ok(Box::new(Refusing { tries: Arc::clone(&self.tries), told: Arc::clone(&self.told) }))
    }

    fn renderer(&self) -> &dyn Renderer {
        self
    }
}

struct Nowhere;

impl Destinations for Nowhere {
    fn open(&self, _: &Pipeline, _: &Path, _: &Path) -> Vec<Box<dyn Destination>> {
        Vec::new()
    }
}

fn pipeline(name: &str, cron: &str, zone: &str, missed: &str) -> (PathBuf, Arc<Pipeline>) {
    let text = format!(
        "version: 1\nname: {name}\ntriggers:\n  schedule: {{ cron: '{cron}', timezone: {zone}, missed: {missed} }}\nsources:\n  s: {{ file: {{ path: x }}, format: csv, columns: {{ a: {{ type: string }} }} }}\n\
         table: {{ name: {name}, mode: replace }}\nnotify:\n  - console: {{}}\n    when: {{ outcome: [unchanged] }}\n"
    );
    let (file, locations) = load("p.yaml", &text, &|_| None).unwrap();
    let pipeline = Pipeline { file, path: "p.yaml".to_owned(), transform: None, locations, definition: name.to_owned() };
    (PathBuf::new(), Arc::new(pipeline))
}

struct Year {
    home: tempfile::TempDir,
    hands: Hands,
    told: Arc<Mutex<Vec<String>>>,
    tries: Arc<Mutex<u64>>,
}

impl Year {
    fn begin(at: Timestamp) -> Self {
        // In memory, where there is such a folder: a year has many transactions, and this test is not about disks.
        let home = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Self { home, hands: Arc::new(Mutex::new(at)), told: Arc::default(), tries: Arc::default() }
    }

    async fn service(&self) -> Arc<Service> {
        let home = Home::new(self.home.path());
        let hands = Arc::clone(&self.hands);
        let world = Lively {
            hands: Arc::clone(&self.hands),
            looks: Mutex::default(),
            tries: Arc::clone(&self.tries),
            told: Arc::clone(&self.told),
        };
        let conductor = Conductor {
            ledger: Ledger::open(&home).await.unwrap(),
            home,
            plane: Arc::new(NothingNew),
            outside: Arc::new(world),
            destinations: Arc::new(Nowhere),
            clock: Arc::new(move || *hands.lock().unwrap()),
            environment: "test".to_owned(),
            progress: Arc::new(NoProgress),
            positions: Positions::default(),
            delivery: Delivery::Deferred,
            traces: Arc::new(tidegate_core::seam::NoTraces),
        };
        let pipelines = vec![
            pipeline("night", "30 2 * * *", "Europe/Berlin", "once"),
            pipeline("each", "0 0,12 * * *", "America/New_York", "all"),
            pipeline("strict", "0 12 * * 1-5", "UTC", "skip"),
        ];
        let reader: Reader = Arc::new(|_| Err(Vec::new()));
        Arc::new(Service::new(conductor, pipelines, ServiceOptions::default(), reader, Arc::new(|_| {})).await.unwrap())
    }
}

/// Everything that is due at this moment.
async fn tick(service: &Arc<Service>) {
    loop {
        service.schedule().await.unwrap();
        if !service.work().await.unwrap() {
            break;
        }
    }
    for (pipeline, notifier) in service.conductor.ledger.outbox_due(service.now()).await.unwrap() {
        service.deliver_to(&pipeline, notifier).await.unwrap();
    }
}

/// How many set times of a zone lie in `(from, to]`: told from the calendar alone, without any cron.
fn set_times(zone: &str, times: &[(i8, i8)], weekdays_only: bool, from: Timestamp, to: Timestamp) -> usize {
    let zone = time_zone(zone).unwrap();
    let mut day = date(2025, 12, 30);
    let mut n = 0;
    while day < date(2027, 1, 3) {
        let weekday = day.weekday().to_monday_one_offset() <= 5;
        for (hour, minute) in times.iter().filter(|_| weekday || !weekdays_only) {
            // A time that is skipped comes right after, one that comes twice counts once.
            let at = day.at(*hour, *minute, 0, 0).to_zoned(zone.clone()).unwrap().timestamp();
            n += usize::from(at > from && at <= to);
        }
        day = day.tomorrow().unwrap();
    }
    n
}

#[tokio::test]
async fn a_year_of_set_times_downtime_and_wrong_clocks() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let (begin, end) = (at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
    let year = Year::begin(begin);
    let mut service = year.service().await;
    // Down from the evening of the 10th to the noon of the 15th of June; a clock set back by three hours on the 1st of
    // September, and one a day ahead on the 1st of November.
    let (down, up) = (at("2026-06-10T20:00:00Z"), at("2026-06-15T12:00:00Z"));
    let (back, ahead) = (at("2026-09-01T13:00:00Z"), at("2026-11-01T00:00:00Z"));
    let mut now = begin;
    while now <= end {
        *year.hands.lock().unwrap() = now;
        tick(&service).await;
        now += Span::new().hours(1);
        if now > down && now < up {
            now = up;
            service = year.service().await;
        }
        if now == back {
            for behind in 0..6 {
                *year.hands.lock().unwrap() = back - Span::new().hours(6 - behind);
                tick(&service).await;
            }
        }
        if now == ahead {
            now = ahead + Span::new().hours(24);
        }
    }
    // What waits in the outbox is delivered, however often it is refused.
    for _ in 0..20 {
        now += Span::new().hours(1);
        *year.hands.lock().unwrap() = now;
        for (pipeline, notifier) in service.conductor.ledger.outbox_due(now).await.unwrap() {
            service.deliver_to(&pipeline, notifier).await.unwrap();
        }
    }
    let runs = service.conductor.ledger.runs(None, i64::MAX).await.unwrap();
    let count = |name: &str| runs.iter().filter(|run| run.pipeline == name).count();
    let gaps = [(down, up), (ahead - Span::new().hours(1), ahead + Span::new().hours(24))];
    let missed = |zone: &str, times: &[(i8, i8)], weekdays: bool| gaps.map(|(from, to)| set_times(zone, times, weekdays, from, to));
    // Once: what was missed is one run.
    let night = [(2, 30)];
    let lost: usize = missed("Europe/Berlin", &night, false).iter().map(|n| n.saturating_sub(1)).sum();
    assert_eq!(count("night"), set_times("Europe/Berlin", &night, false, begin, end) - lost);
    assert!(lost > 3);
    // All: nothing is missed.
    let each = [(0, 0), (12, 0)];
    assert_eq!(count("each"), set_times("America/New_York", &each, false, begin, end));
    // Skip: what was missed is gone, unless its time is now.
    let noon = [(12, 0)];
    let lost: usize = missed("UTC", &noon, true).iter().sum::<usize>();
    assert_eq!(count("strict"), set_times("UTC", &noon, true, begin, end) - lost + 1);
    // Nobody was told twice, and everybody was told.
    let mut told = year.told.lock().unwrap().clone();
    told.sort();
    let before = told.len();
    told.dedup();
    assert_eq!((told.len(), before), (runs.len(), runs.len()));
    assert!(service.conductor.ledger.queue().await.unwrap().is_empty());
}

#[tokio::test]
async fn runs_of_a_process_that_is_not_heard_of_are_taken_over_once() {
    let year = Year {
        home: tempfile::tempdir().unwrap(),
        hands: Arc::new(Mutex::new(Timestamp::UNIX_EPOCH)),
        told: Arc::default(),
        tries: Arc::default(),
    };
    let (one, other) = (year.service().await, year.service().await);
    let names = ["night".to_owned(), "each".to_owned(), "strict".to_owned()];
    let lease = Duration::from_secs(15);
    let claim = |service: &Arc<Service>, seconds: i64| {
        let (ledger, owner) = (service.conductor.ledger.clone(), service.owner.clone());
        let (names, now) = (names.clone(), Timestamp::UNIX_EPOCH + Span::new().seconds(seconds));
        async move { ledger.claim(&owner, &names, 2, lease, now).await.unwrap() }
    };
    for name in ["each", "night", "each", "strict"] {
        one.ask(name, &Trigger::Manual).await.unwrap();
    }
    // Triggers that come together are one; two runs at a time, of two pipelines, in the order of asking.
    let first = claim(&one, 0).await.unwrap();
    assert_eq!((first.pipeline.as_str(), first.taken_over), ("each", false));
    one.ask("each", &Trigger::Manual).await.unwrap();
    assert_eq!(claim(&other, 0).await.unwrap().pipeline, "night");
    assert_eq!(claim(&other, 1).await, None, "no more than two at a time");
    // One says that it is alive, the other does not.
    assert!(one.conductor.ledger.heartbeat(&one.owner, first.id, lease, Timestamp::UNIX_EPOCH + Span::new().seconds(10)).await.unwrap());
    let taken = claim(&one, 16).await.unwrap();
    assert_eq!((taken.pipeline.as_str(), taken.taken_over), ("night", true));
    assert!(
        !other.conductor.ledger.heartbeat(&other.owner, taken.id, lease, Timestamp::UNIX_EPOCH).await.unwrap(),
        "it is not its any more"
    );
}
