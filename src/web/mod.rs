//! HTTP.
#[allow(dead_code, reason = "read by the routes, which come next")]
mod query;
