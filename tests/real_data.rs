//! The real publications, where they are: `../shared/data` beside the project, or `$TIDEGATE_REAL_DATA`.

use crate::environment::project;
use std::path::PathBuf;

/// The file or folder, or a printed reason why the test is skipped.
pub fn real_data(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("TIDEGATE_REAL_DATA").map_or_else(|| project().join("../shared/data"), PathBuf::from);
    let path = folder.join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there; set TIDEGATE_REAL_DATA to a folder that has it", path.display());
    None
}

/// The rows of a plain CSV file without quotes, without its header.
pub fn rows(path: &std::path::Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}
