//! Work that blocks, moved away from the threads that answer requests.

use std::io;

/// Runs a function on a thread that may block, within the caller's tracing span.
///
/// # Errors
/// When the function panicked or the runtime is stopping.
pub async fn run<T, F>(work: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work))
        .await
        .map_err(io::Error::other)
}
