//! Opening the log's file so that it never blocks and never goes on in the middle of a line.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// What the log is written to; takes a part of what it is given, as files do.
pub(super) trait Sink: Write + Send {}
impl<W: Write + Send> Sink for W {}

/// Opens for appending; makes a file that its owner may write and its group read.
pub(super) fn open(path: &Path) -> io::Result<Box<dyn Sink>> {
    // A pipe that nobody reads must not stop the writer, so opening and writing fail instead. Files know no such flag.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let mut options = OpenOptions::new();
    options.append(true).mode(0o640).custom_flags(flags);
    let mut file = options.clone().create(true).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() && metadata.len() > 0 && last_byte(path, metadata.len())? != b'\n' {
        // Whoever wrote before was cut off.
        file.write_all(b"\n")?;
    }
    Ok(Box::new(file))
}

fn last_byte(path: &Path, length: u64) -> io::Result<u8> {
    let mut byte = [0];
    File::open(path)?.read_exact_at(&mut byte, length - 1)?;
    Ok(byte[0])
}

/// Whether an error of [`open`] means a pipe without a reader: it may come later.
pub(super) fn waits_for_reader(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error())
}

/// Whether the same file can be tried again after this error of a write; else it has to be opened anew.
pub(super) fn may_pass(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge
            | io::ErrorKind::WouldBlock
            | io::ErrorKind::Interrupted
    )
}
