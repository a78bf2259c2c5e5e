//! Dying on purpose, for the fault matrix. Not in release builds.
//!
//! `TIDEGATE_FAULT=list:FILE` appends the name of every point that is passed to FILE; `TIDEGATE_FAULT=NAME:N` ends the
//! process without any clean-up when point NAME is passed for the Nth time, as `kill -9` would.

/// Installs the hook if the environment asks for it.
pub fn install() {
    #[cfg(debug_assertions)]
    if let Ok(wanted) = std::env::var("TIDEGATE_FAULT")
        && let Some((name, rest)) = wanted.split_once(':')
    {
        let (name, rest) = (name.to_owned(), rest.to_owned());
        let passed = std::sync::atomic::AtomicU64::new(0);
        tidegate_core::fault::set_hook(Box::new(move |point| {
            if name == "list" {
                use std::io::Write as _;
                let file = std::fs::OpenOptions::new().create(true).append(true).open(&rest);
                if let Ok(mut file) = file {
                    let _ = writeln!(file, "{point}");
                }
            } else if name == point && passed.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1 == rest.parse::<u64>().unwrap_or(1) {
                std::process::abort();
            }
        }));
    }
}
