//! Arithmetic on SOA serials (RFC 1982, section 3).

/// The serial after this one. Zero is skipped: some servers take it for "none".
#[must_use]
pub fn next(serial: u32) -> u32 {
    serial.wrapping_add(1).max(1)
}

/// Whether `serial` is newer than `than`; false for the undefined pair that is exactly half the circle apart.
#[must_use]
pub fn is_newer(serial: u32, than: u32) -> bool {
    let ahead = serial.wrapping_sub(than);
    ahead != 0 && ahead < 1 << 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_grow_around_the_circle() {
        assert!(is_newer(2, 1) && !is_newer(1, 2) && !is_newer(1, 1));
        assert!(is_newer(0, u32::MAX) && is_newer(1, u32::MAX - 5));
        assert!(is_newer(0x8000_0000, 1) && !is_newer(0x8000_0000, 0));
        assert_eq!(next(u32::MAX), 1);
        assert_eq!(next(7), 8);
        for serial in [0, 1, 77, 0x7fff_ffff, 0x8000_0000, u32::MAX - 1, u32::MAX] {
            assert!(is_newer(next(serial), serial), "serial {serial}");
        }
    }
}
