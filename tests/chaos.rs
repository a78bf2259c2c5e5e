//! Chaos: services under load are killed again and again, and nothing is lost, doubled or miscounted.
//!
//! `TIDEGATE_CHAOS=200 cargo test --test integration chaos -- --nocapture` runs that many cycles; the usual test a few. The
//! seed is printed; `TIDEGATE_CHAOS_SEED` repeats it.

use crate::{
    commands::SMALL,
    environment::{Environment, TestPublisher, adds_up},
    receivers::flaky_receiver,
    serving::{Serving, try_request},
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Numbers that look random and are the same for the same seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % most
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The ids of rows that were answered with 202.
type AcceptedIds = Arc<Mutex<BTreeSet<u64>>>;

/// Pushes bodies of ten rows, each under a key of its own, until each is accepted: by whichever service answers.
fn pusher(first: u64, addresses: Vec<String>, accepted: AcceptedIds, stop: Arc<AtomicBool>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut next = first;
        while !stop.load(Ordering::Relaxed) {
            let ids: Vec<u64> = (next..next + 10).collect();
            // Every thirteenth row is bad.
            let row = |id: &u64| format!("{id},{}\n", if id.is_multiple_of(13) { "bad".to_owned() } else { id.to_string() });
            let body = format!("id,n\n{}", ids.iter().map(row).collect::<String>());
            let key = format!("push-{next}");
            let mut tries = 0;
            // A key must be tried again at the same service as long as that may have taken it: see docs/guide/triggers/push.md.
            let address = &addresses[usize::try_from(next / 10).unwrap() % addresses.len()];
            let headers = [("idempotency-key", key.as_str())];
            let push = || try_request(address, "POST", "/v1/ingest/pushed/rows", &headers, body.as_bytes()).map_or(0, |(status, _)| status);
            while push() != 202 {
                tries += 1;
                thread::sleep(Duration::from_millis(20));
                assert!(tries < 3000, "{key} was never accepted");
            }
            accepted.lock().unwrap().extend(ids);
            next += 10;
        }
    })
}

/// Reads the live stream, coming back after each break where it was, until told to stop.
fn subscriber(address: String, seen: Arc<Mutex<Vec<i64>>>, stop: Arc<AtomicBool>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let last = seen.lock().unwrap().last().copied().unwrap_or(0);
            let Ok(mut stream) = TcpStream::connect(&address) else {
                thread::sleep(Duration::from_millis(20));
                continue;
            };
            let _ = stream.set_read_timeout(Some(Duration::from_millis(300)));
            let _ = write!(stream, "GET /v1/events HTTP/1.1\r\nhost: localhost\r\nlast-event-id: {last}\r\n\r\n");
            let mut id: Option<i64> = None;
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if let Some(text) = line.strip_prefix("id: ") {
                    id = text.parse().ok();
                } else if line.starts_with("data: ") && line.ends_with('}') {
                    // The whole event is here.
                    seen.lock().unwrap().extend(id.take());
                }
            }
        }
    })
}

struct World {
    environment: Environment,
    publisher: TestPublisher,
    /// The messages that were taken.
    told: Arc<Mutex<Vec<String>>>,
    /// The events and the changed rows that were taken.
    given: [Arc<Mutex<Vec<String>>>; 2],
    seed: u64,
    cycles: u64,
}

fn world(cycles: u64) -> World {
    let seed = setting("TIDEGATE_CHAOS_SEED", 20_200_531);
    let environment = Environment::new();
    let publisher = TestPublisher::start();
    let (hook, told) = flaky_receiver(seed);
    let ((events, given), (changes, changed)) = (flaky_receiver(seed + 1), flaky_receiver(seed + 2));
    environment.write(
        "pushed/pipeline.yaml",
        format!(
            "version: 1\nname: pushed\nsources:\n  rows:\n    push: {{}}\n    format: csv\n    columns:\n      id: {{ type: int64, required: true }}\n      n: {{ type: int64 }}\n\
             table: {{ name: p, mode: append, guards: off }}\ntriggers:\n  push: {{ every: 100ms }}\nnotify:\n  - webhook: {{ url: {hook:?} }}\n\
             subscribers:\n  - name: events\n    webhook: {{ url: {events:?} }}\n    events: {{}}\n    from: beginning\n  \
             - name: changes\n    webhook: {{ url: {changes:?} }}\n    changes: {{ rows: 3000 }}\n    from: beginning\n"
        ),
    );
    environment.write(
        "dropped/pipeline.yaml",
        "version: 1\nname: dropped\nsources:\n  rows:\n    file: { path: '../drop/*', archive: ../done, settle: 100ms }\n    format: csv\n    columns:\n      id: { type: int64, required: true }\n      n: { type: int64 }\n\
         table: { name: d, mode: append, guards: off }\ntriggers:\n  file: { every: 100ms }\n",
    );
    let polled = SMALL.replace("file: { path: ../in.csv }", &format!("http: {{ url: {:?} }}", publisher.publisher.url("/t.csv")));
    environment.write(
        "small/pipeline.yaml",
        format!("{polled}triggers:\n  source_change: {{ every: 100ms }}\n  schedule: {{ cron: '* * * * *' }}\n"),
    );
    World { environment, publisher, told, given: [given, changed], seed, cycles: setting("TIDEGATE_CHAOS", cycles) }
}

impl World {
    /// Another version of the polled publication: a few rows changed, a row more.
    fn publish(&self, version: u64) -> String {
        let rows: String = (0..20 + version).map(|id| format!("{id},{}\n", id + version % 3)).collect();
        let csv = format!("id,n\n{rows}");
        self.publisher.publisher.publish("/t.csv", csv.clone());
        csv
    }

    /// Puts something in the way of the polled table, or takes it away again: a destination that fails.
    fn sabotage(&self, broken: bool) {
        let (table, away) = (self.environment.home().join("tables/t"), self.environment.home().join("tables/t.away"));
        if broken && table.is_dir() {
            std::fs::rename(&table, &away).unwrap();
            std::fs::write(&table, "in the way").unwrap();
        } else if !broken && away.is_dir() {
            std::fs::remove_file(&table).unwrap();
            std::fs::rename(&away, &table).unwrap();
        }
    }

    fn start(&self, port: u16) -> Serving {
        Serving::start_on(&self.environment, &["pushed", "small", "dropped", "--lease", "2", "--grace", "20"], &format!("127.0.0.1:{port}"))
    }

    /// Waits until all that was accepted has come to its place, and checks everything that can be checked.
    fn check(&self, accepted: &AcceptedIds, published: &str, seen: &Arc<Mutex<Vec<i64>>>) {
        let environment = &self.environment;
        let accepted = accepted.lock().unwrap().clone();
        let deadline = Instant::now() + Duration::from_secs(120 + self.cycles);
        let ids = |rows: Vec<Value>| -> Vec<u64> { rows.iter().map(|row| row["id"].as_u64().unwrap()).collect() };
        let (table, bad) = loop {
            // A first run may still be on its way, and the table not be there.
            let table = ids(environment.run(&["query", "SELECT id FROM p", "-o", "json"]).receipts());
            let bad: Vec<u64> = environment
                .expect(0, &["quarantine", "list", "pushed", "-o", "json", "--limit", "1000000"])
                .receipts()
                .iter()
                .map(|row| row["raw"].as_str().unwrap().split(',').next().unwrap().parse().unwrap())
                .collect();
            if table.len() + bad.len() >= accepted.len() {
                break (table, bad);
            }
            assert!(Instant::now() < deadline, "{} rows were accepted, and {} + {} are there", accepted.len(), table.len(), bad.len());
            thread::sleep(Duration::from_millis(200));
        };
        // Every accepted row is in the table or in quarantine, exactly once.
        let mut all: Vec<u64> = table.iter().chain(&bad).copied().collect();
        all.sort_unstable();
        assert_eq!(all, accepted.iter().copied().collect::<Vec<_>>());
        assert!(bad.iter().all(|id| id.is_multiple_of(13)));
        // The polled table says what was published last.
        while environment.run(&["query", "SELECT id, n FROM t ORDER BY id", "-o", "csv"]).stdout != published {
            assert!(Instant::now() < deadline, "the polled table did not come to its last publication");
            thread::sleep(Duration::from_millis(200));
        }
        let runs = environment.expect(0, &["runs", "-o", "json", "--limit", "1000000"]).receipts();
        runs.iter().filter(|run| run["counts"].is_object()).for_each(adds_up);
        // Whoever listened saw every event, once, in order.
        let events: Vec<i64> =
            environment.expect(0, &["events", "-o", "json"]).receipts().iter().map(|event| event["sequence"].as_i64().unwrap()).collect();
        while seen.lock().unwrap().len() < events.len() {
            assert!(Instant::now() < deadline, "{} events of {} were seen", seen.lock().unwrap().len(), events.len());
            thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(seen.lock().unwrap()[..events.len()], events);
        // And whoever is to be told was told, though it refuses one time in three.
        let published = runs.iter().filter(|run| run["pipeline"] == "pushed" && run["outcome"] == "published").count() as u64;
        let waiting =
            || environment.expect(0, &["status", "-o", "json"]).receipts().iter().any(|status| status["notifications_waiting"] != 0);
        while waiting() {
            assert!(Instant::now() < deadline, "notifications still wait");
            thread::sleep(Duration::from_millis(200));
        }
        let told = self.told.lock().unwrap().len() as u64;
        assert!(told >= published, "{published} runs were published, and {told} messages taken");
        let (of_pipeline, changed) = self.given_to_subscribers(&ids(environment.query("SELECT id FROM p")), deadline);
        let dropped = self.dropped(deadline);
        eprintln!(
            "chaos: seed {}, {} kills: {} rows accepted, {} in the table, {} in quarantine, {} runs, {} events seen, {} messages taken, {of_pipeline} events and {changed} changed rows given to subscribers, {dropped} rows dropped",
            self.seed,
            self.cycles,
            accepted.len(),
            table.len(),
            bad.len(),
            runs.len(),
            events.len(),
            told
        );
    }
}

impl World {
    /// The subscribers got every event and every row, in order, whatever they refused; more than once at most what was under way.
    fn given_to_subscribers(&self, table: &[u64], deadline: Instant) -> (usize, usize) {
        let parsed = |which: usize| -> Vec<Value> {
            self.given[which].lock().unwrap().iter().map(|body| serde_json::from_str(body).unwrap()).collect()
        };
        let all: Vec<i64> = self
            .environment
            .expect(0, &["events", "pushed", "-o", "json"])
            .receipts()
            .iter()
            .map(|event| event["sequence"].as_i64().unwrap())
            .collect();
        loop {
            let mut last = 0;
            let mut events: Vec<i64> = Vec::new();
            for event in parsed(0).iter().flat_map(|batch| batch.as_array().unwrap().clone()) {
                let sequence = event["sequence"].as_i64().unwrap();
                if sequence > last {
                    events.push(sequence);
                    last = sequence;
                }
            }
            let mut rows: Vec<u64> = Vec::new();
            let mut seen = BTreeSet::new();
            for event in parsed(1).iter().filter(|event| seen.insert(event["id"].as_str().unwrap().to_owned())) {
                rows.extend(event["data"]["changes"].as_array().unwrap().iter().map(|change| change["after"]["id"].as_u64().unwrap()));
            }
            if events.len() >= all.len() && rows.len() >= table.len() {
                assert_eq!(events[..all.len()], all);
                rows.sort_unstable();
                let mut table = table.to_vec();
                table.sort_unstable();
                assert_eq!(rows, table, "every row of the table was given once");
                return (events.len(), rows.len());
            }
            assert!(
                Instant::now() < deadline,
                "{} events of {} and {} rows of {} were given",
                events.len(),
                all.len(),
                rows.len(),
                table.len()
            );
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Drops a file of three rows, as careful people do.
    fn drop_file(&self, nth: u64) {
        let rows: String = (0..3).map(|row| format!("{},{nth}\n", nth * 3 + row)).collect();
        let part = self.environment.write(&format!("drop/{nth:06}.csv.part"), format!("id,n\n{rows}"));
        std::fs::rename(&part, part.with_extension("")).unwrap();
    }

    /// Every dropped row is in its table exactly once, and every file in the archive.
    fn dropped(&self, deadline: Instant) -> usize {
        let query = ["query", "SELECT count(*) AS rows, count(DISTINCT id) AS ids FROM d", "-o", "json"];
        let count = || self.environment.run(&query).receipts().pop().unwrap_or_default();
        let expected = self.cycles * 3;
        while count()["ids"] != expected {
            assert!(Instant::now() < deadline, "{expected} rows were dropped, and {} are there", count());
            thread::sleep(Duration::from_millis(200));
        }
        assert_eq!(count()["rows"], expected);
        assert_eq!(std::fs::read_dir(self.environment.path("done")).unwrap().count() as u64, self.cycles);
        usize::try_from(expected).unwrap()
    }
}

#[test]
fn a_service_that_is_killed_again_and_again_loses_and_doubles_nothing() {
    let world = world(6);
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let (accepted, seen, stop) = (AcceptedIds::default(), Arc::default(), Arc::new(AtomicBool::new(false)));
    let pushers = [0, 1_000_000].map(|first| pusher(first, vec![address.clone()], Arc::clone(&accepted), Arc::clone(&stop)));
    let (listening, quiet) = (Arc::new(AtomicBool::new(false)), Arc::clone(&seen));
    let listener = subscriber(address.clone(), quiet, Arc::clone(&listening));
    let mut dice = Dice(world.seed);
    let mut published = world.publish(0);
    for cycle in 0..world.cycles {
        world.sabotage(dice.below(4) == 0);
        let serving = world.start(port);
        world.drop_file(cycle);
        if dice.below(2) == 0 {
            published = world.publish(cycle + 1);
        }
        thread::sleep(Duration::from_millis(50 + dice.below(900)));
        serving.kill();
    }
    world.sabotage(false);
    let serving = world.start(port);
    stop.store(true, Ordering::Relaxed);
    pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
    world.check(&accepted, &published, &seen);
    listening.store(true, Ordering::Relaxed);
    assert_eq!(serving.stop(), Some(0));
    listener.join().unwrap();
    world.environment.expect(0, &["doctor", "--deep"]);
}

#[test]
fn of_two_services_one_is_killed_again_and_again() {
    let world = world(6);
    let ports = [free_port(), free_port()];
    let addresses: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let (accepted, seen, stop) = (AcceptedIds::default(), Arc::default(), Arc::new(AtomicBool::new(false)));
    let mut dice = Dice(world.seed + 1);
    let mut published = world.publish(0);
    let steady = world.start(ports[0]);
    let pushers = [0, 1_000_000].map(|first| pusher(first, addresses.clone(), Arc::clone(&accepted), Arc::clone(&stop)));
    let listening = Arc::new(AtomicBool::new(false));
    let listener = subscriber(addresses[0].clone(), Arc::clone(&seen), Arc::clone(&listening));
    for cycle in 0..world.cycles {
        let other = world.start(ports[1]);
        world.drop_file(cycle);
        published = world.publish(cycle + 1);
        thread::sleep(Duration::from_millis(50 + dice.below(900)));
        other.kill();
    }
    let other = world.start(ports[1]);
    stop.store(true, Ordering::Relaxed);
    pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
    world.check(&accepted, &published, &seen);
    listening.store(true, Ordering::Relaxed);
    assert_eq!((steady.stop(), other.stop()), (Some(0), Some(0)));
    listener.join().unwrap();
    world.environment.expect(0, &["doctor", "--deep"]);
}
