//! Connections, and the probe that wants no more than one.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::outcome::{Failure, Fault};

/// How long a TCP probe waits for the origin to close its side, after the result is out.
const PARTING_MAX: Duration = Duration::from_millis(100);
/// What an origin may still say until then: a banner.
const PARTING_BYTES_MAX: usize = 16 * 1024;

/// Connects. The deadline is the caller's.
pub(crate) async fn connect(addr: SocketAddr) -> Result<TcpStream, Fault> {
    let stream = TcpStream::connect(addr).await.map_err(|error| Fault::from_io(&error))?;
    // A port nobody listens on, in the range of ephemeral ports of this very machine, may be given to us as our
    // own: the connection then loops back to itself (RFC 9293, 3.5: simultaneous open) and proves nothing.
    if stream.local_addr().is_ok_and(|own| own == addr) {
        return Err(Failure::Refused.into());
    }
    stream.set_nodelay(true).map_err(|error| Fault::from_io(&error))?;
    Ok(stream)
}

/// Closes the way a client does that has nothing more to say. Closing at once would answer the banner of many
/// protocols with a reset, and fill the origin's log with broken connections.
pub(crate) async fn part(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let goodbye = async {
        stream.shutdown().await?;
        let mut left = PARTING_BYTES_MAX;
        let mut scratch = [0; 512];
        while left > 0 {
            match stream.read(&mut scratch).await? {
                0 => break,
                came => left = left.saturating_sub(came),
            }
        }
        io::Result::Ok(())
    };
    // Whatever happens here, the result is out already.
    drop(timeout(PARTING_MAX, goodbye).await);
}
