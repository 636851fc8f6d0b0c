//! Asks for a tracer and hears what it has to say.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::tracer;

/// What a tracer shall do, and to whom.
pub struct Orders<'a> {
    /// The process to follow.
    pub pid: u32,
    /// The processes whose calls count, by the first argument of our program; `forked` stands for
    /// those that have not become another program yet.
    pub roles: &'a str,
    /// The calls that count; all when empty. `@PART`: only those of threads that have opened a
    /// file with this in its path, from then on.
    pub names: &'a str,
    /// What happens at the chosen call.
    pub deed: Deed,
}

/// What happens at the chosen call, the first being 1.
#[derive(Debug, Clone, Copy)]
pub enum Deed {
    /// Nothing; the calls are told.
    Count,
    /// The process dies before it.
    Kill(usize),
    /// It fails with this error.
    Fail(usize, i32),
}

/// A tracer at work; it leaves when dropped.
pub struct Trace {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Trace {
    /// Starts a tracer and waits until it follows.
    pub fn begin(orders: &Orders<'_>) -> Self {
        let (deed, at) = match orders.deed {
            Deed::Count => ("count".to_owned(), 0),
            Deed::Kill(at) => ("kill".to_owned(), at),
            Deed::Fail(at, error) => (error.to_string(), at),
        };
        let mut child = Command::new("/proc/self/exe")
            .args([tracer::WORD, &orders.pid.to_string(), orders.roles])
            .args([orders.names, &deed, &at.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = said.next();
        assert!(
            matches!(&first, Some(Ok(line)) if line == "ready"),
            "the tracer said {first:?}"
        );
        Self { child, said }
    }

    /// Ends the tracing and returns what was told: `ROLE CALL` for each call that counted, or for
    /// the one at which the deed was done.
    pub fn end(mut self) -> Vec<String> {
        self.stop();
        self.said.by_ref().map_while(Result::ok).collect()
    }

    fn stop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.stop();
    }
}
