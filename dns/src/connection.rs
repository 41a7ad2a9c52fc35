//! One connection, whatever carries its bytes: length-framed messages (RFC 1035 section 4.2.2), several per connection,
//! answered in order (RFC 7766).

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::encode::STREAM_BYTES_MAX;
use crate::handler::{Handler, Outcome};
use crate::observe::Protocol;
use crate::pause::stopped;
use crate::tcp::TcpLimits;

/// Bytes read at a time.
const READ_BYTES: usize = 4096;
/// Answers gathered before they are written: a client that pipelines but doesn't read holds no more than this and one answer.
const GATHERED_BYTES_MAX: usize = 16 * 1024;
/// Bytes of the length in front of each message.
const FRAME_BYTES: usize = 2;
/// How long the end of a session may take to be said.
const GOODBYE: Duration = Duration::from_secs(1);

/// Why a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    Closed,
    TimedOut,
    ShutDown,
}

/// A client's connection with what serves it.
pub(crate) struct Connection<'h, S> {
    pub(crate) stream: S,
    pub(crate) handler: &'h Handler,
    pub(crate) limits: &'h TcpLimits,
    pub(crate) protocol: Protocol,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    /// Reads, answers, writes, until either side has had enough.
    pub(crate) async fn converse(&mut self, shutdown: &mut watch::Receiver<bool>) -> End {
        let end = self.exchange(shutdown).await;
        // A session ends with close_notify, whoever ends it (RFC 8446 section 6.1): the client must be able to tell it from
        // one that was cut.
        let _ = timeout(GOODBYE, self.stream.shutdown()).await;
        end
    }

    async fn exchange(&mut self, shutdown: &mut watch::Receiver<bool>) -> End {
        let mut input: Vec<u8> = Vec::new();
        let mut chunk = vec![0; READ_BYTES];
        let mut deadline = Instant::now() + self.limits.idle_timeout;
        loop {
            let read = tokio::select! {
                biased;
                () = stopped(shutdown) => return self.drain(&mut input).await,
                read = timeout_at(deadline, self.stream.read(&mut chunk)) => read,
            };
            let length = match read {
                Err(_) => return End::TimedOut,
                Ok(Ok(0) | Err(_)) => return End::Closed,
                Ok(Ok(length)) => length,
            };
            let was_idle = input.is_empty();
            input.extend_from_slice(&chunk[..length]);
            let answered = match self.answer_whole(&mut input).await {
                Ok(answered) => answered,
                Err(end) => return end,
            };
            // The deadline of a message stands until the message is whole: a byte now and then doesn't move it.
            if input.is_empty() {
                deadline = Instant::now() + self.limits.idle_timeout;
            } else if was_idle || answered {
                deadline = Instant::now() + self.limits.message_timeout;
            }
        }
    }

    /// Answers what has already arrived, then closes. Closing with unread bytes would reset the connection, and with it
    /// answers that are still on their way.
    async fn drain(&mut self, input: &mut Vec<u8>) -> End {
        let mut chunk = vec![0; READ_BYTES];
        let mut total = 0;
        while total < STREAM_BYTES_MAX {
            let Ok(Ok(length @ 1..)) = timeout(Duration::ZERO, self.stream.read(&mut chunk)).await else {
                break;
            };
            total += length;
            input.extend_from_slice(&chunk[..length]);
            if let Err(end) = self.answer_whole(input).await {
                return end;
            }
        }
        End::ShutDown
    }

    /// Answers all whole messages at the front of `input`, and says whether there was one.
    async fn answer_whole(&mut self, input: &mut Vec<u8>) -> Result<bool, End> {
        let mut used = 0;
        let mut answer = Vec::new();
        let mut gathered = Vec::new();
        while let Some(message) = whole_message(&input[used..]) {
            used += FRAME_BYTES + message.len();
            if self.handler.answer(message, self.protocol, &mut answer) == Outcome::Dropped {
                // Who sends no questions is no DNS client. Those that came before are answered.
                self.write(&mut gathered).await?;
                return Err(End::Closed);
            }
            // An answer is bounded by `STREAM_BYTES_MAX`, which is what the length field holds.
            gathered.extend((answer.len() as u16).to_be_bytes());
            gathered.extend_from_slice(&answer);
            if gathered.len() >= GATHERED_BYTES_MAX {
                self.write(&mut gathered).await?;
            }
        }
        self.write(&mut gathered).await?;
        input.drain(..used);
        Ok(used > 0)
    }

    async fn write(&mut self, bytes: &mut Vec<u8>) -> Result<(), End> {
        let stream = &mut self.stream;
        let written = async {
            stream.write_all(bytes).await?;
            // What a TLS stream has taken it need not have sent.
            stream.flush().await
        };
        let written = timeout(self.limits.message_timeout, written).await;
        bytes.clear();
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Closed),
            Err(_) => Err(End::TimedOut),
        }
    }
}

/// The first message of `input` if all of it is there. A message is at most 65535 bytes, which bounds `input`.
fn whole_message(input: &[u8]) -> Option<&[u8]> {
    let (length, rest) = input.split_first_chunk::<FRAME_BYTES>()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}
