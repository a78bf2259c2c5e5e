//! The key that seals sensitive values: from the environment or a file, and never shown.

use crate::cli::Global;
use tidegate_core::{Code, Failure};
use tidegate_engine::Seal;

/// The variable that holds the key itself.
const KEY: &str = "TIDEGATE_KEY";

/// What seals values, if a key was given.
pub fn seal(global: &Global) -> Result<Option<Seal>, Failure> {
    let (place, text) = match (global.key_file.as_ref().filter(|file| !file.as_os_str().is_empty()), std::env::var(KEY)) {
        (Some(_), Ok(key)) if !key.is_empty() => {
            return Err(Failure::new(Code::TG106, format!("there is a key file, and a key in {KEY}")).hint("give one of them"));
        }
        (Some(file), _) => {
            let text = std::fs::read_to_string(file)
                .map_err(|error| Failure::new(Code::TG106, format!("the key file {} cannot be read", file.display())).because(&error))?;
            (file.display().to_string(), text)
        }
        (None, Ok(key)) if !key.is_empty() => (KEY.to_owned(), key),
        _ => return Ok(None),
    };
    let wrong = |why: String| Failure::new(Code::TG106, format!("{place} does not hold a key: {why}")).hint("`tidegate key` makes one");
    Seal::from_text(&text).map(Some).map_err(wrong)
}
