//! STUB
#![allow(missing_docs)]
#[derive(Debug, Default, Clone)]
pub struct Entry {
    pub event: &'static str,
    pub user: Option<String>,
    pub from: Option<String>,
    pub method: Option<&'static str>,
    pub route: Option<String>,
    pub request_id: Option<String>,
    pub command: Option<String>,
    pub servers: Vec<String>,
    pub ticket: Option<String>,
    pub status: Option<u16>,
    pub exit_code: Option<i32>,
    pub duration_ms: Option<u64>,
}
impl Entry {
    pub fn new(m: &'static str) -> Self {
        Self {
            method: Some(m),
            ..Self::default()
        }
    }
}
#[derive(Debug)]
pub struct Audit;
impl Audit {
    pub fn open(_: &std::path::Path, _: u32) -> std::io::Result<Self> {
        Ok(Self)
    }
    pub fn record(&self, _: &Entry) -> std::io::Result<()> {
        Ok(())
    }
}
