//! Who a connection belongs to, and what it is doing.
//!
//! The listener knows the client and sees bytes move; whoever reads the protocol tells when a request
//! has come and when it was answered. Both write it down here, and the listener's patience is measured
//! by it.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;

/// By which of our ports somebody came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// The main one, in plain HTTP.
    Plain,
    /// The main one, over TLS.
    Tls,
    /// The one for clients on this host that bring no credentials.
    Local,
}

/// What a checked client certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The one name it gives; `None` where it gives none, or more than one to choose from.
    pub name: Option<String>,
    /// When it ends. A connection may outlive it.
    pub expires: SystemTime,
    /// The chain that the client has sent, its own certificate first, in DER.
    pub chain: Vec<Vec<u8>>,
}

/// A client and its connection.
#[derive(Debug)]
pub struct Visitor {
    /// The client's address.
    pub peer: SocketAddr,
    /// By which port it came.
    pub port: Port,
    certificate: OnceLock<Certificate>,
    came: Instant,
    /// Whether a request is being answered.
    answering: AtomicBool,
    /// Whether the body of that request is being waited for.
    unfinished: AtomicBool,
    /// When it last began to do nothing of use: as it came, or with the last answer. All times are
    /// milliseconds since `came`.
    waits_since: AtomicU64,
    /// When the first byte of a request came that is not whole yet, and one more; 0 = there is none.
    asks_since: AtomicU64,
    /// When a byte last moved.
    moved: AtomicU64,
    /// Whether bytes wait until the client takes some.
    stuck: AtomicBool,
    leave: Notify,
}

impl Visitor {
    /// Somebody who came just now.
    #[must_use]
    pub fn new(peer: SocketAddr, port: Port) -> Self {
        Self {
            peer,
            port,
            certificate: OnceLock::new(),
            came: Instant::now(),
            answering: AtomicBool::new(false),
            unfinished: AtomicBool::new(false),
            waits_since: AtomicU64::new(0),
            // Whoever comes has something to ask.
            asks_since: AtomicU64::new(1),
            moved: AtomicU64::new(0),
            stuck: AtomicBool::new(false),
            leave: Notify::new(),
        }
    }

    /// The checked certificate, where one was shown.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.get()
    }

    /// Notes the certificate of a handshake. From here on a request may take its time.
    pub fn shook_hands(&self, certificate: Option<Certificate>) {
        if let Some(certificate) = certificate {
            self.certificate.get_or_init(|| certificate);
        }
        self.asks_since.store(self.now() + 1, Ordering::Release);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.came.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }

    /// The head of a request has been read.
    pub fn asked(&self) {
        self.answering.store(true, Ordering::Release);
        self.asks_since.store(0, Ordering::Release);
    }

    /// The body of a request is waited for, or is there.
    pub fn awaits_body(&self, waits: bool) {
        self.unfinished.store(waits, Ordering::Release);
    }

    /// There is an answer.
    pub fn answered(&self) {
        let now = self.now();
        self.moved.store(now, Ordering::Release);
        self.waits_since.store(now, Ordering::Release);
        self.answering.store(false, Ordering::Release);
    }

    /// Whether a request is being answered.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.answering.load(Ordering::Acquire)
    }

    /// Bytes came from the client and are about to be passed on.
    pub fn received(&self) {
        let now = self.now();
        self.moved.store(now, Ordering::Release);
        if !self.is_answered() {
            // What was set stays: a request has its time from its first byte on.
            self.asks_since
                .compare_exchange(0, now + 1, Ordering::AcqRel, Ordering::Acquire)
                .ok();
        }
    }

    /// Bytes went to the client.
    pub fn sent(&self) {
        let now = self.now();
        self.moved.store(now, Ordering::Release);
        self.stuck.store(false, Ordering::Release);
        // A request behind an answer that is still on its way is not being read yet.
        if self.asks_since.load(Ordering::Acquire) != 0 {
            self.asks_since.store(now + 1, Ordering::Release);
        }
    }

    /// The client takes no bytes just now.
    pub fn cannot_send(&self) {
        if !self.stuck.swap(true, Ordering::AcqRel) {
            self.moved.store(self.now(), Ordering::Release);
        }
    }

    /// When patience ends: a head that began must be whole within `head`; a connection that nothing is
    /// heard of, or that takes nothing of what there is for it, ends after `idle`. `None` while an
    /// answer is being thought of.
    #[must_use]
    pub fn patience(&self, head: Duration, idle: Duration) -> Option<Instant> {
        let stuck = self.stuck.load(Ordering::Acquire);
        if self.is_answered() && !stuck {
            return None;
        }
        let (since, limit) = match self.asks_since.load(Ordering::Acquire) {
            _ if stuck => (self.moved.load(Ordering::Acquire), idle),
            0 => (self.moved.load(Ordering::Acquire), idle),
            began => (began - 1, head),
        };
        Some(self.came + Duration::from_millis(since) + limit)
    }

    /// Since when it has had nothing of use to do; `None` while a whole request is being answered.
    #[must_use]
    pub fn useless_since(&self) -> Option<Instant> {
        let since = Duration::from_millis(self.waits_since.load(Ordering::Acquire));
        let of_use = self.is_answered() && !self.unfinished.load(Ordering::Acquire);
        (!of_use).then(|| self.came + since)
    }

    /// For how long no byte has moved.
    #[must_use]
    pub fn still_for(&self) -> Duration {
        let moved = self.moved.load(Ordering::Acquire);
        Duration::from_millis(self.now().saturating_sub(moved))
    }

    /// Asks it to leave at once.
    pub fn show_out(&self) {
        self.leave.notify_one();
    }

    /// Waits until it is asked to leave.
    pub async fn shown_out(&self) {
        self.leave.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const HEAD: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(30);

    fn visitor() -> Arc<Visitor> {
        let peer = "192.0.2.7:4000".parse().unwrap();
        Arc::new(Visitor::new(peer, Port::Plain))
    }

    fn left(visitor: &Visitor) -> Option<Duration> {
        let until = visitor.patience(HEAD, IDLE)?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    #[test]
    fn a_head_has_its_time_from_its_first_byte_on_and_an_answer_has_none() {
        let visitor = visitor();
        assert!(left(&visitor).unwrap() <= HEAD);
        visitor.received();
        visitor.asked();
        visitor.received();
        assert_eq!(left(&visitor), None);
        assert_eq!(visitor.useless_since(), None);
        visitor.awaits_body(true);
        assert!(visitor.useless_since().is_some() && left(&visitor).is_none());
        visitor.awaits_body(false);
        visitor.answered();
        assert!(left(&visitor).unwrap() > HEAD);
        visitor.sent();
        assert!(left(&visitor).unwrap() > HEAD);
        visitor.received();
        let first = visitor.patience(HEAD, IDLE);
        std::thread::sleep(Duration::from_millis(5));
        visitor.received();
        assert_eq!(visitor.patience(HEAD, IDLE), first);
        assert!(left(&visitor).unwrap() <= HEAD);
    }

    #[test]
    fn a_head_behind_an_answer_that_is_being_sent_is_not_late() {
        let visitor = visitor();
        visitor.asked();
        visitor.answered();
        visitor.received();
        let first = visitor.patience(HEAD, IDLE).unwrap();
        std::thread::sleep(Duration::from_millis(5));
        visitor.sent();
        assert!(visitor.patience(HEAD, IDLE).unwrap() > first);
    }

    #[test]
    fn whoever_takes_no_bytes_of_an_answer_has_the_time_of_one_who_is_idle() {
        let visitor = visitor();
        visitor.asked();
        visitor.cannot_send();
        let until = visitor.patience(HEAD, IDLE);
        assert!(left(&visitor).unwrap() > HEAD);
        std::thread::sleep(Duration::from_millis(5));
        visitor.received();
        visitor.cannot_send();
        assert!(visitor.patience(HEAD, IDLE) >= until);
        visitor.sent();
        assert_eq!(left(&visitor), None);
    }
}
