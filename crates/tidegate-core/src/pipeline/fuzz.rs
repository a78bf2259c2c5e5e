//! Fuzzing the pipeline file: no panic, and every error has a message.
//!
//! `TIDEGATE_FUZZ_SECONDS=600 cargo test --lib fuzz` goes on for ten minutes. Findings become tests beside the code.

use super::load;
use tidegate_testkit::mutate;

const SAMPLE: &[u8] = b"version: 1\nname: p\nsources:\n  s:\n    http: { url: \"https://${HOST:example.org}/x.csv\", headers: { a: '${KEY}' }, timeout: 30s }\n    format: csv\n    csv: { delimiter: \";\", nulls: [a, ~] }\n    columns:\n      d: { type: date, required: true, formats: [\"%d.%m.%Y\"] }\n      n: { type: \"decimal(18,2)\", check: \"n >= 0\" }\ntransform: t.sql\ntable:\n  name: t\n  key: [d]\n  mode: merge\n  guards: { max_removed: 10%, max_new: off, min_rows: 3 }\n  checks:\n    - { name: c, sql: \"SELECT 1\", severity: warn }\nnotify:\n  - email: { to: [a@b] }\n    when: { outcome: [published, { anything-but: failed }], new: [{ numeric: [\">\", 0] }], $or: [{ a: 1 }, { b: [{ exists: false }] }] }\nlimits: { memory: 512MB, keep_raw: 30d }\n";
const WORDS: [&[u8]; 26] = [
    b"${",
    b"}",
    b"${A:",
    b"$${",
    b": ",
    b"\n",
    b"  ",
    b"- ",
    b"[",
    b"]",
    b"{",
    b"}",
    b"'",
    b"\"",
    b"|\n",
    b">\n",
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!str ",
    b"~",
    b"off",
    b"99999999999999999999999",
    b"-1",
    b"\xc3\xb1",
    b"? ",
];

#[test]
fn fuzz_the_pipeline_file() {
    let env = |name: &str| name.len().is_multiple_of(2).then(|| "a: b\n# '\"${x}".to_owned());
    let tried = mutate::fuzz(2000, &[SAMPLE], &WORDS, |seed, bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Err(error) = load("p.yaml", &text, &env) {
            assert!(
                !error.failures.is_empty() && error.failures.iter().all(|failure| !failure.message.is_empty()),
                "seed {seed}: {error:?}"
            );
        }
    });
    println!("{tried} inputs");
}
