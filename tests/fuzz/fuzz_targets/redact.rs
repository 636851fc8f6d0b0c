//! Any bytes through the masks: in pieces as in whole, and without an end.

#![no_main]

use barmanapi::redact::{self, Redactor};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&size, data)) = data.split_first() else {
        return;
    };
    let whole = redact::bytes(data);
    let mut masks = Redactor::new();
    let mut pieces = Vec::new();
    for piece in data.chunks(usize::from(size) + 1) {
        masks.push(piece, &mut pieces);
    }
    masks.finish(&mut pieces);
    assert_eq!(
        String::from_utf8_lossy(&whole),
        String::from_utf8_lossy(&pieces)
    );
    let marked = [data, b"\npassword=hunter2\n"].concat();
    let marked = redact::bytes(&marked);
    let marked = String::from_utf8_lossy(&marked);
    assert!(!marked.ends_with("hunter2\n"), "{marked}");
});
