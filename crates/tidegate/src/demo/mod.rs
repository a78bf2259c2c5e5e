//! The shipped pipeline, carried in the binary for the demo.

/// Its files: names and texts.
pub const PIPELINE: [(&str, &str); 2] = [
    ("pipeline.yaml", include_str!("../../../../pipelines/covid19/pipeline.yaml")),
    ("transform.sql", include_str!("../../../../pipelines/covid19/transform.sql")),
];
