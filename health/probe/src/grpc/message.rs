//! The two messages of gRPC's health checking protocol, and the frame around them.
//!
//! `HealthCheckRequest { string service = 1 }` and `HealthCheckResponse { ServingStatus status = 1 }`, each behind a
//! flag for compression and a length of four bytes. That is little enough to be written by hand, and no code
//! generator is needed to build Tidegate.

use bytes::Bytes;

/// Before every message: the flag and the length.
const PREFIX: usize = 5;
/// Wire types of fields (Protocol Buffers, Encoding).
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;
/// The field of both messages that counts.
const FIELD: u64 = 1;

/// A framed request for the health of a service; empty means the server as a whole.
pub(super) fn request(service: &str) -> Bytes {
    let mut message = Vec::with_capacity(service.len() + 3);
    if !service.is_empty() {
        message.push((FIELD << 3 | BYTES) as u8);
        put_varint(&mut message, service.len() as u64);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    // A service's name is bounded far below 4 GiB.
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(&message);
    framed.into()
}

/// How many bytes the first framed message has in all, once its prefix is there.
pub(super) fn framed_len(bytes: &[u8]) -> Option<usize> {
    let length: [u8; 4] = bytes.get(1..PREFIX)?.try_into().ok()?;
    usize::try_from(u32::from_be_bytes(length)).ok()?.checked_add(PREFIX)
}

/// The status in exactly one framed response; nothing if it is not one.
pub(super) fn status(framed: &[u8]) -> Option<u64> {
    // Compression is only for those who asked for it.
    if framed.first() != Some(&0) || framed_len(framed) != Some(framed.len()) {
        return None;
    }
    let mut rest = &framed[PREFIX..];
    // A field that is not there has its default; of several the last one counts.
    let mut status = 0;
    while !rest.is_empty() {
        let key = take_varint(&mut rest)?;
        match (key >> 3, key & 7) {
            (0, _) => return None,
            (FIELD, VARINT) => status = take_varint(&mut rest)?,
            (_, VARINT) => drop(take_varint(&mut rest)?),
            (_, FIXED64) => rest = rest.get(8..)?,
            (_, FIXED32) => rest = rest.get(4..)?,
            (_, BYTES) => {
                let length = usize::try_from(take_varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            _ => return None,
        }
    }
    Some(status)
}

fn put_varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

fn take_varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = from.split_first()?;
        *from = rest;
        // The tenth byte has room for one bit.
        if shift == 63 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_have_the_bytes_of_the_protocol() {
        assert_eq!(&*request(""), [0, 0, 0, 0, 0]);
        assert_eq!(&*request("db"), [0, 0, 0, 0, 4, 0x0a, 2, b'd', b'b']);
        let long = request(&"x".repeat(200));
        assert_eq!(&long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1]);
    }

    #[test]
    fn the_status_is_found_among_other_fields() {
        let framed = |message: &[u8]| [&[0, 0, 0, 0, message.len() as u8], message].concat();
        for (message, expected) in [
            (&[8, 1][..], Some(1)),
            (&[8, 2], Some(2)),
            (&[], Some(0)),
            (&[8, 0x81, 0], Some(1)),
            (&[8, 2, 8, 1], Some(1)),
            // Unknown fields of every wire type.
            (&[0x10, 5, 0x1a, 2, 9, 9, 0x21, 1, 2, 3, 4, 5, 6, 7, 8, 0x2d, 1, 2, 3, 4, 8, 1], Some(1)),
            (&[8], None),
            (&[8, 0x80], None),
            (&[0, 1], None),
            (&[0x0b], None),
            (&[0x1a, 9, 1], None),
            (&[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], Some(u64::MAX)),
            (&[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], None),
        ] {
            assert_eq!(status(&framed(message)), expected, "{message:?}");
        }
        for bad in
            [&[][..], &[0, 0, 0, 0], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0, 0, 3, 8, 1], &[0, 0, 0, 0, 1, 8, 1]]
        {
            assert_eq!(status(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..64), message in vec(any::<u8>(), 0..32)) {
            let _ = status(&bytes);
            let _ = status(&[&[0, 0, 0, 0, message.len() as u8], &message[..]].concat());
        }

        #[test]
        fn numbers_come_back(value in any::<u64>()) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            prop_assert_eq!(take_varint(&mut &bytes[..]), Some(value));
        }
    }
}
