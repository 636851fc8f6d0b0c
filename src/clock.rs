//! The time of day, always in UTC, and its text.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The time now.
#[must_use]
pub fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// A time as RFC 3339 text with whole seconds, for example `2026-11-20T21:43:04Z`.
#[must_use]
pub fn text(at: OffsetDateTime) -> String {
    let whole = at.replace_nanosecond(0).unwrap_or(at);
    whole.format(&Rfc3339).unwrap_or_default()
}
