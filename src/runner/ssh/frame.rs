//! What comes from the Barman host, taken apart and bounded.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use super::{FileFacts, LinkError};
use crate::runner::Ending;

/// Bytes of a frame's head: a letter and its length.
const HEAD: usize = 9;

/// Bytes of output in one frame, at most, and of the offset before them.
const OUTPUT: usize = 16 + 64 * 1024;

/// Bytes of any other frame, at most.
const OTHER: usize = 16 * 1024;

/// The oldest program that is believed; no host runs for so long.
const OLDEST: Duration = Duration::from_secs(50 * 366 * 86_400);

/// One thing that the other side tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// The program runs, for so long already if that can be told.
    Started(Option<Duration>),
    /// Output, from this offset on.
    Output(Stream, u64, Vec<u8>),
    /// A sign of life.
    Beat {
        /// Who waited for the program is gone.
        orphaned: bool,
    },
    /// The program has ended.
    Ended {
        /// How.
        ending: Ending,
        /// The lengths of its outputs.
        lengths: [u64; 2],
    },
    /// What was asked for can't be done.
    Refused {
        /// The system's number of the error; 0 = none.
        errno: i32,
        /// What the system said.
        words: String,
    },
    /// Something is wrong there, which says nothing about what was asked for.
    Trouble {
        /// The system's number of the error; 0 = none.
        errno: i32,
        /// What the system said.
        words: String,
    },
    /// The job was never started.
    Never,
    /// There is no such job.
    Missing,
    /// Facts about files.
    Facts(Vec<FileFacts>),
    /// Where a path leads.
    Path(PathBuf),
    /// It is done.
    Done,
}

/// Which output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// A frame that is to be sent.
pub(super) fn order(kind: u8, payload: &str) -> Vec<u8> {
    format!("{}{:08x}{payload}", char::from(kind), payload.len()).into_bytes()
}

/// Takes the first whole frame out of `buffer`; `None` when there is none yet.
///
/// # Errors
/// When it is none of ours, or longer than any of ours.
pub(super) fn take(buffer: &mut Vec<u8>) -> Result<Option<Frame>, LinkError> {
    let Some((head, rest)) = buffer.split_at_checked(HEAD) else {
        return Ok(None);
    };
    let odd = || {
        LinkError::protocol(format!(
            "{:?} is no head of a frame",
            String::from_utf8_lossy(head)
        ))
    };
    let (kind, length) = head.split_first().ok_or_else(odd)?;
    let digits = std::str::from_utf8(length).map_err(|_| odd())?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(odd());
    }
    let length = usize::from_str_radix(digits, 16).map_err(|_| odd())?;
    let limit = if matches!(kind, b'o' | b'e') {
        OUTPUT
    } else {
        OTHER
    };
    if length > limit {
        return Err(LinkError::protocol(format!(
            "a frame of {length} bytes is longer than {limit}"
        )));
    }
    let Some(payload) = rest.get(..length) else {
        return Ok(None);
    };
    let frame = read(*kind, payload).ok_or_else(|| {
        LinkError::protocol(format!("the frame {:?} can't be read", char::from(*kind)))
    })?;
    buffer.drain(..HEAD + length);
    Ok(Some(frame))
}

fn read(kind: u8, payload: &[u8]) -> Option<Frame> {
    let text = || std::str::from_utf8(payload).ok();
    Some(match kind {
        b's' if payload.is_empty() => Frame::Started(None),
        b's' => {
            let age = Duration::try_from_secs_f64(text()?.parse().ok()?).ok()?;
            Frame::Started(Some(Some(age).filter(|age| *age <= OLDEST)?))
        }
        b'o' | b'e' => {
            let (offset, bytes) = payload.split_at_checked(16)?;
            let offset = u64::from_str_radix(std::str::from_utf8(offset).ok()?, 16).ok()?;
            let stream = if kind == b'o' {
                Stream::Out
            } else {
                Stream::Err
            };
            Frame::Output(stream, offset, bytes.to_vec())
        }
        b'b' => Frame::Beat {
            orphaned: payload == b"1",
        },
        b'x' => {
            let words: Vec<_> = text()?.split(' ').collect();
            let [how, number, out, err] = words.try_into().ok()?;
            let ending = match (how, number.parse().ok()?) {
                ("exit", code @ 0..=255) => Ending::Exited(code),
                ("signal", signal @ 1..=64) => Ending::Signalled(signal),
                ("unknown", restarted @ 0..=1) => Ending::Unknown {
                    restarted: restarted == 1,
                },
                _ => return None,
            };
            Frame::Ended {
                ending,
                lengths: [out.parse().ok()?, err.parse().ok()?],
            }
        }
        b'f' | b'w' => {
            let text = String::from_utf8_lossy(payload);
            let (errno, words) = text.split_once(' ')?;
            let errno = errno.parse().ok()?;
            let words = super::error::tail(words.as_bytes());
            if kind == b'f' {
                Frame::Refused { errno, words }
            } else {
                Frame::Trouble { errno, words }
            }
        }
        b'n' => Frame::Never,
        b'm' => Frame::Missing,
        b'l' => Frame::Facts(facts(payload)?),
        b'r' => Frame::Path(OsString::from_vec(payload.to_vec()).into()),
        b'd' => Frame::Done,
        _ => return None,
    })
}

/// Byte strings that stand one after the other, each with its length before it.
pub(super) fn fields(payload: &[u8]) -> Option<Vec<&[u8]>> {
    let mut fields = Vec::new();
    let mut rest = payload;
    while !rest.is_empty() {
        let colon = rest.iter().position(|byte| *byte == b':')?;
        let (length, after) = rest.split_at_checked(colon)?;
        let length: usize = std::str::from_utf8(length).ok()?.parse().ok()?;
        let (field, after) = after.get(1..)?.split_at_checked(length)?;
        fields.push(field);
        rest = after;
    }
    Some(fields)
}

/// Path, inode, size, seconds, nanoseconds and mode of one or two files.
fn facts(payload: &[u8]) -> Option<Vec<FileFacts>> {
    let fields = fields(payload)?;
    if !matches!(fields.len(), 6 | 12) {
        return None;
    }
    let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse::<i128>().ok();
    fields
        .chunks_exact(6)
        .map(|file| {
            let [path, inode, size, seconds, nanoseconds, mode] = file.try_into().ok()?;
            Some((
                PathBuf::from(OsString::from_vec(<[u8]>::to_vec(path))),
                number(inode)?.try_into().ok()?,
                number(size)?.try_into().ok()?,
                number(seconds)?.try_into().ok()?,
                number(nanoseconds)?.try_into().ok()?,
                number(mode)?.try_into().ok()?,
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(text: &[u8]) -> Result<Option<Frame>, LinkError> {
        take(&mut text.to_vec())
    }

    #[test]
    fn a_frame_waits_until_it_is_whole() {
        let whole = b"o000000130000000000000005abcNEXT";
        let mut buffer = Vec::new();
        for byte in &whole[..27] {
            buffer.push(*byte);
            assert_eq!(take(&mut buffer).unwrap(), None);
        }
        buffer.extend_from_slice(&whole[27..]);
        let frame = take(&mut buffer).unwrap().unwrap();
        assert_eq!(frame, Frame::Output(Stream::Out, 5, b"abc".to_vec()));
        assert_eq!(buffer, b"NEXT");
    }

    #[test]
    fn what_is_none_of_ours_or_too_long_is_an_error() {
        for odd in [
            &b"o7fffffff"[..],
            b"b00100000",
            b"zzzzzzzzzz",
            b"b+0000001",
            b"q00000000",
            b"x00000004exit",
            b"x0000000cexit 256 0 0",
            b"x0000000asignal 0 0",
            b"s00000003NaN",
            b"s00000002-1",
            b"s000000041e15",
            b"s00000003inf",
            b"f00000001x",
            b"l000000021:",
            b"l0000000a9999999:xx",
            b"o00000001x",
        ] {
            let result = one(odd);
            assert!(
                matches!(result, Err(LinkError::Protocol { .. })),
                "{:?}: {result:?}",
                String::from_utf8_lossy(odd)
            );
        }
    }

    #[test]
    fn endings_are_exact() {
        let ended = |text: &str| one(&order(b'x', text)).unwrap().unwrap();
        for (text, ending) in [
            ("exit 143 1 2", Ending::Exited(143)),
            ("signal 15 1 2", Ending::Signalled(15)),
            ("unknown 1 1 2", Ending::Unknown { restarted: true }),
        ] {
            let lengths = [1, 2];
            assert_eq!(ended(text), Frame::Ended { ending, lengths });
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_stand_still(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut buffer = bytes;
            loop {
                let before = buffer.len();
                match take(&mut buffer) {
                    Ok(Some(_)) => prop_assert!(buffer.len() < before),
                    _ => break,
                }
            }
        }
    }
}
