//! A client of HTTP/2 that says exactly what it is told, frame by frame.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::Stage;
use crate::scene::PATIENCE;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PROTOCOL_ERROR: u32 = 1;

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Answer(u16),
    /// Reset, or a goodbye to the whole connection, with this reason.
    Reset(u32),
    Goodbye(u32),
}

/// A client that says exactly what it is told.
pub(super) struct Client {
    stream: TlsStream<TcpStream>,
    read: Vec<u8>,
}

impl Client {
    pub(super) async fn connect(stage: &Stage) -> Self {
        let stream = stage.secure.connect(b"h2").await.expect("the daemon speaks HTTP/2");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let mut client = Self { stream, read: Vec::new() };
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        client
    }

    /// Sends, unless the daemon has closed already.
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    /// One request, and how it ends.
    pub(super) async fn ask(&mut self, fields: &[(&[u8], &[u8])], body: Option<&[u8]>) -> End {
        let ends = if body.is_none() { END_STREAM } else { 0 };
        let mut frames = frame(HEADERS, END_HEADERS | ends, &block(fields));
        if let Some(body) = body {
            frames.extend(frame(DATA, END_STREAM, body));
        }
        self.send(&frames).await;
        self.end().await
    }

    /// How the stream ends: the first thing that is said of it.
    pub(super) async fn end(&mut self) -> End {
        loop {
            let (kind, payload) = self.next().await;
            let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().expect("four bytes"));
            match kind {
                HEADERS => return End::Answer(status(&payload)),
                RST_STREAM => return End::Reset(number(0)),
                GOAWAY => return End::Goodbye(number(4)),
                _ => {}
            }
        }
    }

    async fn next(&mut self) -> (u8, Vec<u8>) {
        loop {
            if let Some(head) = self.read.get(..9) {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                let kind = head[3];
                if self.read.len() >= 9 + length {
                    return (kind, self.read.drain(..9 + length).skip(9).collect());
                }
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await;
            let read = read.expect("the daemon says something").expect("in order");
            assert!(read > 0, "the connection ended without a word");
        }
    }
}

/// A frame of stream 1 (RFC 9113, section 4.1).
pub(super) fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

/// Fields as HPACK spells them without any table (RFC 7541, section 6.2.2), so that nothing of them is checked.
pub(super) fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            bytes.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("a short text"));
            bytes.extend_from_slice(text);
        }
    }
    bytes
}

/// The status that an answer's block begins with: an entry of the static table (RFC 7541, appendix A), or a literal
/// whose digits are in the Huffman code (appendix B): 0 to 2 in five bits, the others in six.
fn status(block: &[u8]) -> u16 {
    match block[0] {
        0x88 => 200,
        0x8c => 400,
        0x8d => 404,
        0x48 if block[1] & 0x80 != 0 => {
            let bits = block[2..]
                .iter()
                .take(usize::from(block[1] & 0x7f))
                .fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
            let mut left = 8 * usize::from(block[1] & 0x7f);
            (0..3).fold(0, |status, _| {
                let five = bits >> (left - 5) & 0x1f;
                let (digit, length) =
                    if five < 3 { (five, 5) } else { ((bits >> (left - 6) & 0x3f) - 0x16, 6) };
                left -= length;
                status * 10 + u16::try_from(digit).expect("a digit")
            })
        }
        _ => panic!("not a status: {block:?}"),
    }
}
