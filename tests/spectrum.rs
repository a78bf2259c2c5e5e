//! `csv-spectrum`: small files with the JSON they mean.

use crate::{environment::Environment, real_data::real_data};
use serde_json::Value;

#[test]
fn all_of_csv_spectrum_parses_to_its_json() {
    let Some(folder) = real_data("csv-spectrum") else { return };
    let mut files = 0;
    for entry in std::fs::read_dir(folder.join("csvs")).unwrap() {
        let csv = entry.unwrap().path();
        let name = csv.file_stem().unwrap().to_str().unwrap().to_owned();
        let expected: Value = serde_json::from_slice(&std::fs::read(folder.join("json").join(format!("{name}.json"))).unwrap()).unwrap();
        // One of the files holds a single row as an object.
        let mut expected = if expected.is_array() { expected } else { Value::Array(vec![expected]) };
        if name == "location_coordinates" {
            // The collection's own JSON has another telephone number than its CSV.
            expected[0]["Contact Phone Number"] = "2095257564".into();
        }
        let names: Vec<String> = expected[0].as_object().unwrap().keys().cloned().collect();
        let columns: Vec<String> = names
            .iter()
            .enumerate()
            .map(|(i, name)| format!("      c{i}: {{ type: string, from: {} }}", serde_json::to_string(name).unwrap()))
            .collect();
        let environment = Environment::new();
        environment.write(
            "p/pipeline.yaml",
            format!("version: 1\nname: p\nsources:\n  s:\n    file: {{ path: {:?} }}\n    format: csv\n    columns:\n{}\ntable: {{ name: t, mode: append }}\n", csv.display().to_string(), columns.join("\n")),
        );
        let receipt = environment.receipt("p");
        assert_eq!(receipt["outcome"], "published", "{name}: {receipt}");
        let got: Vec<Value> = environment
            .query("SELECT * FROM t")
            .into_iter()
            .map(|row| Value::Object(names.iter().enumerate().map(|(i, name)| (name.clone(), row[format!("c{i}")].clone())).collect()))
            .collect();
        assert_eq!(Value::Array(got), expected, "{name}");
        files += 1;
    }
    assert_eq!(files, 12);
}
