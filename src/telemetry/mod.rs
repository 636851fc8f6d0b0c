//! The service's own log.
//!
//! `general.log` has one JSON object a line: `time` (RFC 3339, UTC), `level`, `target`, `message`
//! and `fields`. A line that can't be written is dropped: a full disk does not stop the service.
//! What callers put into fields is theirs to choose; passwords, tokens, headers, bodies and query
//! values have no place there.

mod line;
mod rotate;

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use time::OffsetDateTime;
use tracing::field::Visit;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry, Scope};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use line::Fields;
use rotate::RotatingFile;

/// How lines are passed through before they are written, to take secrets out.
pub type Mask = fn(&str) -> Cow<'_, str>;

/// Where and how to log.
#[derive(Debug, Clone)]
pub struct Options {
    /// The file; its folder is made when missing.
    pub path: PathBuf,
    /// Bytes at which the file begins anew; 0 = never.
    pub max_bytes: u64,
    /// Older files that are kept.
    pub backup_count: u32,
    /// Whether debug lines are written.
    pub debug: bool,
    /// Takes secrets out of every text.
    pub mask: Mask,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// This process logs already.
    #[error("logging is set up already: set it up once, when the program starts")]
    Installed(#[source] tracing_subscriber::util::TryInitError),
}

/// Logs to a file from now on.
///
/// A file that can't be opened is no error: it is tried again with every line.
///
/// # Errors
/// When this process logs already.
pub fn to_file(options: &Options) -> Result<Log, TelemetryError> {
    let (subscriber, log) = layers(options);
    subscriber.try_init().map_err(TelemetryError::Installed)?;
    Ok(log)
}

fn layers(options: &Options) -> (impl Subscriber + Send + Sync + use<>, Log) {
    let (filter, targets) = reload::Layer::new(targets(options.debug));
    let lines = JsonLines::new(options);
    let output = Arc::clone(&lines.output);
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    (subscriber, Log { targets, output })
}

/// The log of this process, to change how it is written.
#[derive(Clone)]
pub struct Log {
    targets: reload::Handle<Targets, Registry>,
    output: Arc<Mutex<Output>>,
}

impl Log {
    /// Writes as these options say from the next line on; path and mask stay.
    pub fn set(&self, debug: bool, max_bytes: u64, backup_count: u32) {
        // Without a subscriber nothing is written.
        drop(self.targets.reload(targets(debug)));
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        output.file.set_limits(max_bytes, backup_count);
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

/// What is logged.
fn targets(debug: bool) -> Targets {
    let level = if debug {
        LevelFilter::DEBUG
    } else {
        LevelFilter::INFO
    };
    Targets::new()
        .with_default(level)
        .with_target("hyper", Level::WARN)
        .with_target("rustls", Level::WARN)
        .with_target("mio", Level::WARN)
}

/// Writes events as JSON lines.
struct JsonLines {
    mask: Mask,
    output: Arc<Mutex<Output>>,
}

struct Output {
    file: RotatingFile,
    /// Lines that could not be written since the last one that could.
    dropped: u64,
}

impl JsonLines {
    fn new(options: &Options) -> Self {
        let file = RotatingFile::new(
            options.path.clone(),
            options.max_bytes,
            options.backup_count,
        );
        Self {
            mask: options.mask,
            output: Arc::new(Mutex::new(Output { file, dropped: 0 })),
        }
    }

    fn write(&self, line: &[u8]) {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        if output.dropped > 0 {
            let mut fields = Fields::default();
            fields.record("message", "lines of this log were dropped".into());
            fields.record("count", output.dropped.into());
            let told = fields.line(
                OffsetDateTime::now_utc(),
                Level::WARN,
                module_path!(),
                self.mask,
            );
            if output.file.append(&told).is_ok() {
                output.dropped = 0;
            }
        }
        if output.file.append(line).is_err() {
            output.dropped += 1;
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for JsonLines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context
            .event_scope(event)
            .into_iter()
            .flat_map(Scope::from_root)
        {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.add(outer);
            }
        }
        event.record(&mut fields as &mut dyn Visit);
        let metadata = event.metadata();
        let line = fields.line(
            OffsetDateTime::now_utc(),
            *metadata.level(),
            metadata.target(),
            self.mask,
        );
        self.write(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn options(path: &Path) -> Options {
        let mask: Mask = |text| Cow::Owned(text.replace("s3cr3t", "*"));
        Options {
            path: path.to_owned(),
            max_bytes: 1 << 20,
            backup_count: 1,
            debug: false,
            mask,
        }
    }

    fn lines(path: &Path) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn an_event_is_one_line_with_the_fields_of_its_spans() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/general.log");
        let subscriber = tracing_subscriber::registry()
            .with(targets(false))
            .with(JsonLines::new(&options(&path)));
        tracing::subscriber::with_default(subscriber, || {
            let span =
                tracing::info_span!("request", request_id = "r1", user = tracing::field::Empty);
            span.record("user", "ada");
            let _inside = span.enter();
            tracing::info!(target: "web", command = "backup", duration_ms = 12u64, ok = true, "the command\nended");
            tracing::debug!("not told");
            tracing::info!(target: "hyper::proto", "x");
            tracing::warn!(target: "hyper::proto", error = "s3cr3t\u{1b}[31m\u{2028}", "it failed: s3cr3t");
        });
        let lines = lines(&path);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(lines[0]["level"], "INFO");
        assert_eq!(lines[0]["target"], "web");
        assert_eq!(lines[0]["message"], "the command\nended");
        assert_eq!(
            lines[0]["fields"],
            serde_json::json!({"request_id": "r1", "user": "ada", "command": "backup", "duration_ms": 12, "ok": true})
        );
        assert!(lines[0]["time"].as_str().unwrap().ends_with('Z'));
        assert_eq!(lines[1]["message"], "it failed: *");
        assert_eq!(lines[1]["fields"]["error"], "*\u{1b}[31m\u{2028}");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(['\u{1b}', '\u{2028}']), "{text}");
    }

    #[test]
    fn debug_lines_come_where_they_are_asked_for() {
        for debug in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("general.log");
            let subscriber = tracing_subscriber::registry()
                .with(targets(debug))
                .with(JsonLines::new(&options(&path)));
            tracing::subscriber::with_default(subscriber, || {
                tracing::info!("always");
                tracing::debug!("asked");
            });
            assert_eq!(lines(&path).len(), if debug { 2 } else { 1 });
        }
    }

    #[test]
    fn a_log_takes_another_level_and_other_limits_while_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("general.log");
        let (subscriber, log) = layers(&options(&path));
        tracing::subscriber::with_default(subscriber, || {
            let tell = || tracing::debug!("asked");
            tell();
            assert_eq!(lines(&path).len(), 0);
            log.set(true, 1 << 20, 1);
            tell();
            assert_eq!(lines(&path).len(), 1);
            log.set(true, 1, 3);
            (0..6).for_each(|_| tell());
            let kept = |number: u32| dir.path().join(format!("general.log.{number}")).exists();
            assert_eq!([1, 2, 3, 4].map(kept), [true, true, true, false]);
            log.set(false, 1, 1);
            tracing::info!("always");
            tell();
            assert_eq!([1, 2, 3, 4].map(kept), [true, false, false, false]);
            assert_eq!(lines(&path)[0]["message"], "always");
        });
    }

    #[test]
    fn lines_that_could_not_be_written_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("logs");
        std::fs::write(&folder, "in the way").unwrap();
        let path = folder.join("general.log");
        let json = JsonLines::new(&options(&path));
        json.write(b"{}\n");
        json.write(b"{}\n");
        std::fs::remove_file(&folder).unwrap();
        json.write(b"{\"last\":1}\n");
        let lines = lines(&path);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["fields"]["count"], 2);
        assert_eq!(lines[1]["last"], 1);
    }
}
