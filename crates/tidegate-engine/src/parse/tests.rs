use super::*;
use crate::rows;
use proptest::prelude::*;
use serde_json::Value;
use std::io::Write as _;
use tidegate_core::pipeline::load;

/// A source with a few columns of different types.
pub(super) const COLUMNS: &str = "      id: { type: int64, required: true }\n      day: { type: date }\n      name: { type: string }\n      n: { type: float64, check: \"n < 1000\" }\n";

pub(super) fn pipeline(format: &str, options: &str, columns: &str) -> Pipeline {
    let text = format!(
        "version: 1\nname: p\nsources:\n  s:\n    file: {{ path: x }}\n    format: {format}\n{options}    columns:\n{columns}table: {{ name: t, mode: append, key: [id] }}\n"
    );
    let (file, locations) = load("p.yaml", &text, &|_| None).unwrap();
    Pipeline { file, path: "p.yaml".to_owned(), transform: None, locations, definition: String::new() }
}

/// What a file was found to hold: rows as JSON, rejected rows as `line column reason`, and the receipt's three numbers.
pub(super) type Found = (Vec<Value>, Vec<String>, [u64; 3]);

pub(super) fn parse_with(pipeline: &Pipeline, bytes: &[u8], threads: usize, block: usize) -> Result<Found> {
    parse_kept(pipeline, bytes, bytes.len(), false, threads, block)
}

/// The same for a file that lies in the raw store as `kept`, of which `came` bytes came.
fn parse_kept(pipeline: &Pipeline, kept: &[u8], came: usize, packed: bool, threads: usize, block: usize) -> Result<Found> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(kept).unwrap();
    let input = SourceInput {
        name: "s".to_owned(),
        parts: vec![RawFile { name: "x".to_owned(), path: file.path().to_owned(), bytes: came as u64, packed }],
        open: BTreeSet::new(),
    };
    let mut source = SourceRows::open(pipeline, &input, threads, None)?.with_block(block);
    let mut found = Vec::new();
    for batch in source.by_ref() {
        let batch = batch?;
        found.extend((0..batch.num_rows()).map(|row| Value::Object(rows::object(&batch, row))));
    }
    let (parsed, rejected) = source.finish();
    let rejected =
        rejected.iter().map(|row| format!("{} {} {}", row.line.unwrap(), row.column.as_deref().unwrap_or("-"), row.reason)).collect();
    Ok((found, rejected, [parsed.receipt.read, parsed.receipt.accepted, parsed.receipt.rejected]))
}

fn csv(bytes: impl AsRef<[u8]>) -> Found {
    parse_with(&pipeline("csv", "", COLUMNS), bytes.as_ref(), 2, blocks::BLOCK).unwrap()
}

fn ids(found: &Found) -> Vec<i64> {
    found.0.iter().map(|row| row["id"].as_i64().unwrap()).collect()
}

#[test]
fn header_is_by_name_in_any_order_and_others_are_ignored() {
    let found = csv("extra,n,name,id,day\nx,1.5,a,1,2020-01-01\n");
    assert_eq!(found.0, [serde_json::json!({ "id": 1, "day": "2020-01-01", "name": "a", "n": 1.5 })]);
}

#[test]
fn any_line_end_and_no_line_end() {
    for text in [
        "id,day,name,n\n1,,a,1\n2,,b,2",
        "id,day,name,n\r\n1,,a,1\r\n2,,b,2\r\n",
        "id,day,name,n\r1,,a,1\r2,,b,2\r",
        "\u{feff}id,day,name,n\n\n1,,a,1\n\n2,,b,2\n\n",
    ] {
        assert_eq!(ids(&csv(text)), [1, 2], "{text:?}");
    }
}

#[test]
fn empty_is_null_and_nothing_else_is() {
    let found = csv("id,day,name,n\n1,,,\n2,,\"\",\n3,,NA,\n4,,null,\n");
    let names: Vec<&Value> = found.0.iter().map(|row| &row["name"]).collect();
    assert_eq!(names, [&Value::Null, &"".into(), &"NA".into(), &"null".into()]);
}

#[test]
fn bad_rows_are_set_aside_one_by_one_with_their_lines() {
    let found = csv(
        "id,day,name,n\n1,2020-01-01,a,1\nx,,b,2\n3,2020-02-30,c,3\n,,d,4\n5,,e\n6,,f,6,7\n7,,g,1000\n8,,\"h\nh\",8\n9,,\"i\"i,9\n10,,j,10\n",
    );
    assert_eq!(ids(&found), [1, 8, 10]);
    assert_eq!(found.1, ["3 id type", "4 day type", "5 id required", "6 - ragged", "7 - ragged", "8 n check", "11 - quote"]);
    assert_eq!(found.2, [10, 3, 7]);
}

#[test]
fn an_unclosed_quote_costs_its_own_line_only() {
    let found = csv("id,day,name,n\n1,,a,1\n2,,\"b,2\n3,,c,3\n4,,d,4\n");
    assert_eq!((ids(&found), found.1), (vec![1, 3, 4], vec!["3 - quote".to_owned()]));
}

#[test]
fn undecodable_bytes_reject_their_row() {
    let found = csv(b"id,day,name,n\n1,,a,1\n2,,\xff\xfe,2\n3,,\xc3\xb1,3\n");
    assert_eq!((ids(&found), found.1), (vec![1, 3], vec!["3 - encoding".to_owned()]));
}

#[test]
fn other_encodings_are_declared_or_have_a_mark() {
    let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain("id,day,name,n\n1,,ñ,1\n".encode_utf16().flat_map(u16::to_le_bytes)).collect();
    assert_eq!(csv(utf16).0[0]["name"], "ñ");
    let latin = pipeline("csv", "    csv: { encoding: windows-1252 }\n", COLUMNS);
    assert_eq!(parse_with(&latin, b"id,day,name,n\n1,,\xf1,1\n", 1, blocks::BLOCK).unwrap().0[0]["name"], "ñ");
}

#[test]
fn compressed_files_are_recognised() {
    use flate2::{Compression, write::GzEncoder};
    let text = "id,day,name,n\n1,,a,1\n";
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    assert_eq!(ids(&csv(gzip.finish().unwrap())), [1]);
    assert_eq!(ids(&csv(zstd::encode_all(text.as_bytes(), 1).unwrap())), [1]);
    let mut cut = zstd::encode_all(text.repeat(1000).as_bytes(), 1).unwrap();
    cut.truncate(cut.len() - 3);
    let error = parse_with(&pipeline("csv", "", COLUMNS), &cut, 1, blocks::BLOCK).unwrap_err();
    assert_eq!(error.code(), tidegate_core::Code::TG207);
}

#[test]
fn a_damaged_file_of_the_raw_store_is_not_the_publishers_fault() {
    let pipeline = pipeline("csv", "", COLUMNS);
    let rows: String = (0..30_000).map(|id| format!("{id},1,2020-01-01,x\n")).collect();
    let bytes = format!("id,n,day,name\n{rows}").into_bytes();
    let frames: Vec<Vec<u8>> = bytes.chunks(200_000).map(|part| zstd::bulk::compress(part, 1).unwrap()).collect();
    let packed = frames.concat();
    let parse = |kept: &[u8], packed| parse_kept(&pipeline, kept, bytes.len(), packed, 2, blocks::BLOCK).map(|found| found.0.len());
    assert_eq!((parse(&bytes, false).unwrap(), parse(&packed, true).unwrap()), (30_000, 30_000));
    let longer = [bytes.clone(), b"1,1,2020-01-01,x\n".to_vec()].concat();
    let mut flipped = packed.clone();
    let middle = flipped.len() / 2;
    flipped[middle..middle + 8].fill(0x55);
    let damaged: [(&[u8], bool); 6] = [
        (&bytes[..bytes.len() - 10], false),
        (&longer, false),
        (&packed[..frames[0].len()], true),
        (&packed[..packed.len() - 3], true),
        (&flipped, true),
        (b"", true),
    ];
    for (i, (kept, packed)) in damaged.into_iter().enumerate() {
        let error = parse(kept, packed).unwrap_err();
        assert!(matches!(error, EngineError::Altered { .. }), "{i}: {error:?}");
    }
    // Also below what the publisher packed itself.
    let gzip = {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(&bytes).unwrap();
        packer.finish().unwrap()
    };
    let error = parse_kept(&pipeline, &gzip[..gzip.len() / 2], gzip.len(), false, 2, blocks::BLOCK).unwrap_err();
    assert!(matches!(error, EngineError::Altered { .. }), "{error:?}");
    let error = parse_kept(&pipeline, &gzip[..gzip.len() / 2], gzip.len() / 2, false, 2, blocks::BLOCK).unwrap_err();
    assert!(matches!(error, EngineError::Decode { .. }), "{error:?}");
}

#[test]
fn dialects() {
    let options = "    csv: { delimiter: \";\", quote: \"'\", skip_lines: 2, trim: true, nulls: [\"-\"] }\n";
    let found =
        parse_with(&pipeline("csv", options, COLUMNS), b"Report\nof today\n id ; day;name ;n\n1; - ;'it''s; so' ;-\n", 1, blocks::BLOCK);
    // Text between a closing quote and the delimiter is a mistake even if it is a space.
    assert_eq!(found.unwrap().1, ["4 - quote"]);
    let found =
        parse_with(&pipeline("csv", options, COLUMNS), b"Report\nof today\n id ; day;name ;n\n1; - ;'it''s; so';-\n", 1, blocks::BLOCK)
            .unwrap();
    assert_eq!(found.0, [serde_json::json!({ "id": 1, "day": null, "name": "it's; so", "n": null })]);
    let bare = parse_with(&pipeline("csv", "    csv: { header: false }\n", COLUMNS), b"1,,a,1\n2,,b,2\n", 1, blocks::BLOCK).unwrap();
    assert_eq!(ids(&bare), [1, 2]);
}

#[test]
fn missing_columns_are_named_with_what_is_there() {
    let error = parse_with(&pipeline("csv", "", COLUMNS), b"id,day\n1,\n", 1, blocks::BLOCK).unwrap_err();
    let failure = tidegate_core::Failure::from(error);
    assert_eq!(failure.message, "source `s` no longer has the columns `name`, `n`");
    assert_eq!(failure.details, [("got".to_owned(), "id, day".to_owned())]);
    assert_eq!(failure.location.unwrap().to_string(), "p.yaml:10:7");
    let json = parse_with(&pipeline("csv", "", COLUMNS), b"{\"error\": \"not today\"}", 1, blocks::BLOCK).unwrap_err();
    assert_eq!(json.to_string(), "source `s` gave JSON where CSV was promised");
    assert_eq!(parse_with(&pipeline("csv", "", COLUMNS), b"\n\n", 1, blocks::BLOCK).unwrap_err().code(), tidegate_core::Code::TG210);
}

#[test]
fn json_lines_are_typed_like_csv() {
    let lines = b"{\"id\": 1, \"day\": \"2020-01-01\", \"name\": \"\", \"n\": 1.5, \"more\": {}}\n{\"id\": \"2\", \"name\": {\"a\": 1}}\nnot json\n{\"id\": 3.5}\n\n{\"n\": 1}\n{\"id\": 4, \"n\": null}";
    let found = parse_with(&pipeline("jsonl", "", COLUMNS), lines, 2, blocks::BLOCK).unwrap();
    assert_eq!(ids(&found), [1, 2, 4]);
    assert_eq!((&found.0[0]["name"], &found.0[1]["name"]), (&"".into(), &"{\"a\":1}".into()));
    assert_eq!(found.1, ["3 - json", "4 id type", "6 id required"]);
}

/// CSV-like bytes: mostly sensible rows, with all the characters that matter.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => (0..50i64).prop_map(|id| format!("{id},2020-01-02,name,{id}\n").into_bytes()),
        1 => Just(b"7,,\"a\nb\",1\n".to_vec()),
        1 => Just(b"8,,\"a\"\"b\",1\r\n".to_vec()),
        1 => "[\",\n\r a0]{0,12}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..6),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| [b"id,day,name,n\n".to_vec(), pieces.concat()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// INV-1 for sources, and INV-3: what is found does not depend on threads or blocks.
    #[test]
    fn neither_threads_nor_blocks_change_what_is_found(bytes in noise(), block in 1usize..200) {
        let pipeline = pipeline("csv", "", COLUMNS);
        let whole = parse_with(&pipeline, &bytes, 1, blocks::BLOCK).unwrap();
        prop_assert_eq!(whole.2[0], whole.2[1] + whole.2[2]);
        prop_assert_eq!(whole.0.len() as u64, whole.2[1]);
        prop_assert_eq!(whole.1.len() as u64, whole.2[2]);
        let cut = parse_with(&pipeline, &bytes, 3, block).unwrap();
        prop_assert_eq!(whole, cut);
    }
}
