//! Fuzzing the CSV parser: no panic, every record accounted for, and the same result however the stream is cut.
//!
//! `TIDEGATE_FUZZ_SECONDS=600 cargo test --lib fuzz` goes on for ten minutes. Findings become tests in `tests.rs`.

use super::tests::{COLUMNS, parse_with, pipeline};
use tidegate_testkit::mutate;

const SAMPLES: [&[u8]; 6] = [
    b"id,day,name,n\n1,2020-01-01,a,1.5\n2,,\"b, c\",2\n3,,\"d\n\"\"e\"\"\",3\n",
    b"id,day,name,n\r\n1,2020-01-01,a,1.5\r\n2,,\"b\",2\r\n",
    b"id,day,name,n\r1,2020-01-01,a,1.5\r2,,b,2\r",
    b"\xef\xbb\xbfname,id,n,day\n\xc3\xb1,1,1e3,2020-02-29\n,2,,\n",
    b"\xff\xfei\0d\0,\0d\0a\0y\0,\0n\0a\0m\0e\0,\0n\0\n\x001\0,\0,\0a\0,\x001\0\n\0",
    b"id,day,name,n\n-9223372036854775808,0001-01-01,,-0.0\n9223372036854775807,9999-12-31,\"\",1e308\n",
];
const WORDS: [&[u8]; 20] = [
    b"\"",
    b"\"\"",
    b",",
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\x1f\x8b",
    b"\x28\xb5\x2f\xfd",
    b"1529.0",
    b"1529.5",
    b"99999999999999999999",
    b"2020-02-30",
    b"NaN",
    b"1e999",
    b"\",\"",
    b"\"\n\"",
];

#[test]
fn fuzz_the_csv_parser() {
    let pipeline = pipeline("csv", "", COLUMNS);
    let tried = mutate::fuzz(400, &SAMPLES, &WORDS, |seed, bytes| {
        let whole = parse_with(&pipeline, bytes, 1, super::blocks::BLOCK);
        let cut = parse_with(&pipeline, bytes, 2, 1 + usize::try_from(seed % 61).unwrap_or(0));
        match (whole, cut) {
            (Ok(whole), Ok(cut)) => {
                assert_eq!(whole, cut, "seed {seed}");
                assert_eq!(whole.2[0], whole.2[1] + whole.2[2], "seed {seed}");
                assert_eq!((whole.0.len() as u64, whole.1.len() as u64), (whole.2[1], whole.2[2]), "seed {seed}");
            }
            (Err(whole), Err(cut)) => assert_eq!(whole.code(), cut.code(), "seed {seed}"),
            (whole, cut) => panic!("seed {seed}: {whole:?} is not {cut:?}"),
        }
    });
    println!("{tried} inputs");
}
