//! Tells cargo what the crate is built from besides its sources.

fn main() {
    // The migrations are compiled in; cargo does not see that by itself.
    println!("cargo:rerun-if-changed=migrations");
}
