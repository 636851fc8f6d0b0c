//! A client's stream that tells its visitor what moves.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::visitors::Visitor;

/// A stream whose bytes are counted as signs of life.
pub(super) struct Watched<S> {
    stream: S,
    visitor: Arc<Visitor>,
}

impl<S> Watched<S> {
    /// Watches a stream.
    pub(super) fn new(stream: S, visitor: &Arc<Visitor>) -> Self {
        Self {
            stream,
            visitor: Arc::clone(visitor),
        }
    }

    /// Notes how an attempt to send has ended.
    fn sent<T>(&self, attempt: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &attempt {
            Poll::Ready(Ok(_)) => self.visitor.sent(),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.visitor.cannot_send(),
        }
        attempt
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.visitor.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.sent(attempt)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.sent(attempt)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A flush that had nothing to do is no sign of life.
        let attempt = Pin::new(&mut self.stream).poll_flush(context);
        if attempt.is_pending() {
            self.visitor.cannot_send();
        }
        attempt
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
