//! The text of an answer, sent to many perhaps, as it is or compressed.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::OnceCell;

use crate::blocking;

/// Shorter texts are not compressed: they fit into one packet as they are.
const SHORTEST: usize = 1400;

/// Longer texts are compressed on a thread that may block.
const LONG: usize = 16 * 1024;

/// A text, held once for all who get it.
#[derive(Clone)]
pub struct Text(Arc<Inner>);

struct Inner {
    plain: Bytes,
    gzip: OnceCell<Option<Bytes>>,
}

impl Text {
    /// The text as it is.
    #[must_use]
    pub fn plain(&self) -> Bytes {
        self.0.plain.clone()
    }

    /// The text compressed (RFC 1952), once for all who want it so; `None` where that gains
    /// nothing.
    pub async fn gzip(&self) -> Option<Bytes> {
        if self.0.plain.len() < SHORTEST {
            return None;
        }
        let compress = async || {
            let plain = self.plain();
            let compressed = if plain.len() < LONG {
                gzip(&plain)
            } else {
                blocking::run(move || gzip(&plain)).await.flatten()
            };
            let compressed = compressed.ok().map(Bytes::from);
            compressed.filter(|compressed| compressed.len() < self.0.plain.len())
        };
        self.0.gzip.get_or_init(compress).await.clone()
    }
}

impl From<Vec<u8>> for Text {
    fn from(text: Vec<u8>) -> Self {
        Self(Arc::new(Inner {
            plain: text.into(),
            gzip: OnceCell::new(),
        }))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text({} bytes)", self.0.plain.len())
    }
}

fn gzip(plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::fast());
    encoder.write_all(plain)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[tokio::test]
    async fn what_is_compressed_is_the_same_text_and_short_texts_stay_as_they_are() {
        for length in [SHORTEST, LONG - 1, LONG, 20 * LONG] {
            let plain = b"main 20260101T000000 - F - Thu Jan  1\n".repeat(length / 30);
            let text = Text::from(plain.clone());
            assert_eq!(text.plain(), plain);
            let compressed = text.gzip().await.unwrap();
            assert!(compressed.len() < plain.len() / 4);
            let mut read = Vec::new();
            let mut decoder = flate2::read::GzDecoder::new(&compressed[..]);
            decoder.read_to_end(&mut read).unwrap();
            assert_eq!(read, plain);
            // Made once.
            let again = text.clone().gzip().await.unwrap();
            assert_eq!(again.as_ptr(), compressed.as_ptr());
        }
        assert!(Text::from(vec![b'x'; SHORTEST - 1]).gzip().await.is_none());
    }

    #[tokio::test]
    async fn what_gains_nothing_is_not_compressed() {
        let mut noise = vec![0; 4000];
        getrandom::fill(&mut noise).unwrap();
        assert!(Text::from(noise).gzip().await.is_none());
    }
}
