//! What is said between us and the warm parent: a byte that says what it is, the number of a run, a
//! length, the content. `share/warm.py` has the table.

use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;

use crate::runner::{Ending, Plan};

/// The longest content of a frame that is believed.
const LONGEST: usize = 1024 * 1024;

/// Which output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Out,
    Err,
}

/// The longest request that is made: so many as can be on their way at once fit into a pipe, and
/// nobody waits for a parent that takes none.
const LONGEST_REQUEST: usize = 4096;

/// What the parent says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Ready,
    Unusable(String),
    Begun(u32, i32),
    Refused(u32, String),
    Output(u32, Stream, Vec<u8>),
    Ended(u32, Ending),
}

/// The next frame; `None` at the end.
pub(super) fn read(input: &mut impl Read) -> io::Result<Option<Frame>> {
    let mut kind = [0];
    match input.read_exact(&mut kind) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    if kind == [b'f'] {
        return refused(input).map(Some);
    }
    let number = four(input)?;
    let length = usize::try_from(four(input)?).unwrap_or(usize::MAX);
    if length > LONGEST {
        return Err(odd());
    }
    let mut content = vec![0; length];
    input.read_exact(&mut content)?;
    let words = |content: Vec<u8>| String::from_utf8_lossy(&content).into_owned();
    let [kind] = kind;
    Ok(Some(match kind {
        b'H' => Frame::Ready,
        b'F' => Frame::Unusable(words(content)),
        b'B' => Frame::Begun(number, value(&content)?),
        b'N' => Frame::Refused(number, words(content)),
        b'O' => Frame::Output(number, Stream::Out, content),
        b'E' => Frame::Output(number, Stream::Err, content),
        b'X' => Frame::Ended(
            number,
            match content.split_first() {
                Some((b'e', code)) => Ending::Exited(value(code)?),
                Some((b's', signal)) => Ending::Signalled(value(signal)?),
                _ => return Err(odd()),
            },
        ),
        _ => return Err(odd()),
    }))
}

/// What a process on another host says that could not become the parent: eight hexadecimal digits
/// of a length, a number, a space, and the reason.
fn refused(input: &mut impl Read) -> io::Result<Frame> {
    let mut digits = [0; 8];
    input.read_exact(&mut digits)?;
    let digits = std::str::from_utf8(&digits).map_err(|_| odd())?;
    let length = u64::from_str_radix(digits, 16).map_err(|_| odd())?;
    let mut content = Vec::new();
    input
        .by_ref()
        .take(length.min(4096))
        .read_to_end(&mut content)?;
    let content = String::from_utf8_lossy(&content);
    let words = content
        .split_once(' ')
        .map_or(&*content, |(_, words)| words);
    Ok(Frame::Unusable(words.to_owned()))
}

fn four(input: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    input.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

fn value(content: &[u8]) -> io::Result<i32> {
    let four = <[u8; 4]>::try_from(content).map_err(|_| odd())?;
    i32::try_from(u32::from_be_bytes(four)).map_err(|_| odd())
}

fn odd() -> io::Error {
    io::Error::other("the warm parent says something odd")
}

/// A request to run something; `None` when it is longer than is
/// ever needed, or holds what no program can be given.
pub(super) fn request(number: u32, plan: &Plan) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    let mut add = |field: &[u8]| {
        let length = u32::try_from(field.len()).ok()?;
        content.extend_from_slice(&length.to_be_bytes());
        content.extend_from_slice(field);
        (!field.contains(&0)).then_some(())
    };
    add(plan.arguments.len().to_string().as_bytes())?;
    for argument in &plan.arguments {
        add(argument.as_bytes())?;
    }
    for (key, value) in &plan.environment {
        add(key.as_bytes())?;
        add(value.as_bytes())?;
    }
    (content.len() <= LONGEST_REQUEST).then(|| framed(b'R', number, &content))
}

/// A request to signal the group of a run.
pub(super) fn signal(number: u32, signal: rustix::process::Signal) -> Vec<u8> {
    let signal = u8::try_from(signal.as_raw()).unwrap_or_default();
    framed(b'S', number, &[signal])
}

fn framed(kind: u8, number: u32, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    let mut frame = vec![kind];
    frame.extend_from_slice(&number.to_be_bytes());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(content);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_whole_and_an_odd_one_is_not_believed() {
        let mut ended = &framed(b'X', 7, b"e\0\0\0\x02")[..];
        assert_eq!(
            read(&mut ended).unwrap(),
            Some(Frame::Ended(7, Ending::Exited(2)))
        );
        assert_eq!(read(&mut ended).unwrap(), None);
        let frames = [
            framed(b'?', 1, b""),
            framed(b'X', 1, b"e\0\0"),
            framed(b'B', 1, b"\xff\xff\xff\xff"),
            b"O\0\0\0\x01\xff\xff\xff\xff".to_vec(),
        ];
        for frame in frames {
            assert!(read(&mut &frame[..]).is_err(), "{frame:?}");
        }
    }
}
