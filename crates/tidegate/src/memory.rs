//! How the system's allocator is used.

/// Arenas that glibc's allocator may have. By itself it gives each of many threads its own, and keeps in each what was
/// freed there: a busy service grew to three times what it used. (Another allocator was tried: it kept as much, and batch
/// runs took half as long again.)
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn limit_arenas() {
    const ARENAS: i32 = 2;
    // SAFETY: no other thread runs yet, and the option only changes where later allocations come from.
    #[allow(unsafe_code, reason = "the C library has no other way to be told, but for the environment of whoever starts us")]
    let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
}

/// Other allocators are left as they are.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn limit_arenas() {}
