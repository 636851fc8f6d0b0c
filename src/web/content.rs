//! The body of an answer: bytes that are there, or a file that is sent as it is read.

use std::fs::File;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::io::{AsyncReadExt, Take};
use tokio_util::io::ReaderStream;

use super::traffic::InFlight;

/// The most of a file that is in memory at a time, in bytes.
const PIECE: usize = 64 * 1024;

/// What is sent behind the head of an answer. Its length is known before it begins.
pub(super) struct Content {
    source: Source,
    left: u64,
    /// The request counts as being answered until all of it has been sent.
    in_flight: Option<InFlight>,
}

enum Source {
    Bytes(Bytes),
    File(ReaderStream<Take<tokio::fs::File>>),
}

impl Content {
    /// Bytes.
    pub(super) fn bytes(bytes: Bytes) -> Self {
        Self {
            left: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            source: Source::Bytes(bytes),
            in_flight: None,
        }
    }

    /// The first `length` bytes of a file. Where there are fewer by then, the connection breaks, as
    /// the client could not tell otherwise.
    pub(super) fn file(file: File, length: u64) -> Self {
        let file = tokio::fs::File::from_std(file).take(length);
        Self {
            source: Source::File(ReaderStream::with_capacity(file, PIECE)),
            left: length,
            in_flight: None,
        }
    }

    /// Keeps the request among those that are being answered until this has been sent.
    pub(super) fn hold(&mut self, in_flight: Option<InFlight>) {
        self.in_flight = in_flight;
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let next = match &mut self.source {
            Source::Bytes(bytes) if bytes.is_empty() => None,
            Source::Bytes(bytes) => Some(Ok(std::mem::take(bytes))),
            Source::File(file) => ready!(Pin::new(file).poll_next(context)),
        };
        if let Some(Ok(bytes)) = &next {
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            self.left = self.left.saturating_sub(length);
        }
        Poll::Ready(next.map(|read| read.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
