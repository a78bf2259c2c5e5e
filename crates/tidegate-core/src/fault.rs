//! Named places around every write, at which a test can stop the process.
//!
//! INV-3 is tested by dying: the fault matrix runs once to list the points it passes, then once per point. In a program
//! that sets no hook, [`point`] is one relaxed atomic load.

use std::sync::OnceLock;

/// What happens at a point; does not return if the process is to die there.
pub type Hook = Box<dyn Fn(&'static str) + Send + Sync>;

static HOOK: OnceLock<Hook> = OnceLock::new();

/// Installs the hook; the first one stays.
pub fn set_hook(hook: Hook) {
    let _ = HOOK.set(hook);
}

/// A place where the process may be stopped by a test.
pub fn point(name: &'static str) {
    if let Some(hook) = HOOK.get() {
        hook(name);
    }
}
