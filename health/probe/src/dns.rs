//! Origins that speak DNS: one question, and the answer that is wanted.
//!
//! Over UDP an answer may get lost; that fails the probe, and the consecutive failures that a change of health takes
//! are the repetition. An answer that was cut is asked for again over TCP where its content counts.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use hickory_proto::op::{Message, MessageType, Query};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;

use crate::outcome::{Failure, Fault, Stage};
use crate::spec::SpecError;
use crate::tcp;

/// A question and the answer that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DnsCheck {
    name: Name,
    record_type: RecordType,
    rcode: u16,
    answer: Option<Arc<str>>,
    over_tcp: bool,
}

/// Why an answer over DNS is not a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsFailure {
    /// The response code was another one.
    Rcode { got: u16, wanted: u16 },
    /// The wanted record is not among the answers.
    NoSuchAnswer,
    /// What came is not an answer to our question.
    NotDns,
}

const ANSWER_BYTES_MAX: usize = 1024;
/// A message without EDNS has at most 512 bytes over UDP (RFC 1035, section 2.3.4); some servers send more.
const DATAGRAM_BYTES_MAX: usize = 4096;
/// Datagrams that answer something else; nobody but the origin can send them without guessing our port.
const STRAYS_MAX: usize = 8;

impl DnsCheck {
    /// Asks for `name` and a record type such as `A`, over UDP, and passes with this response code (RFC 1035 and 6895: 0 is
    /// NOERROR).
    ///
    /// # Errors
    /// When the name or the type cannot be asked for.
    pub fn new(name: &str, record_type: &str, rcode: u16) -> Result<Self, SpecError> {
        let wrong = || SpecError::DnsQuestion(format!("{name} {record_type}"));
        let mut name = Name::from_ascii(name).map_err(|_| wrong())?;
        name.set_fqdn(true);
        let record_type: RecordType = record_type.parse().map_err(|_| wrong())?;
        if matches!(record_type, RecordType::AXFR | RecordType::IXFR | RecordType::OPT) {
            return Err(wrong());
        }
        Ok(Self { name, record_type, rcode, answer: None, over_tcp: false })
    }

    /// Passes only if a record of the type that was asked for has this content, in the form that zone files have; letter case
    /// and a final dot do not count.
    ///
    /// # Errors
    /// When the text is empty or longer than 1 KiB.
    pub fn with_answer(mut self, text: &str) -> Result<Self, SpecError> {
        if text.trim().is_empty() || text.len() > ANSWER_BYTES_MAX {
            return Err(SpecError::Body(text.len()));
        }
        self.answer = Some(plain(text).into());
        Ok(self)
    }

    /// Asks over TCP.
    #[must_use]
    pub fn over_tcp(mut self) -> Self {
        self.over_tcp = true;
        self
    }

    /// Asks once. The deadline is the caller's.
    pub(crate) async fn probe(&self, addr: SocketAddr, stage: &mut Stage) -> Result<(), Fault> {
        let mut query = Message::query();
        query.metadata.recursion_desired = true;
        query.add_query(Query::query(self.name.clone(), self.record_type));
        let question = query.to_vec().map_err(|_| DnsFailure::NotDns)?;
        let mut answer = if self.over_tcp {
            self.ask_tcp(addr, &query, &question, stage).await?
        } else {
            self.ask_udp(addr, &query, &question, stage).await?
        };
        let is_in_doubt = answer.metadata.truncation && !self.over_tcp && self.answer.is_some();
        if is_in_doubt {
            answer = self.ask_tcp(addr, &query, &question, stage).await?;
        }
        Ok(self.judge(&answer)?)
    }

    async fn ask_udp(
        &self,
        addr: SocketAddr,
        query: &Message,
        question: &[u8],
        stage: &mut Stage,
    ) -> Result<Message, Fault> {
        *stage = Stage::Response;
        let any: IpAddr =
            if addr.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let failed = |error| Fault::from_io(&error);
        let socket = UdpSocket::bind((any, 0)).await.map_err(failed)?;
        // A connected socket hears of a closed port, and of no other address.
        socket.connect(addr).await.map_err(failed)?;
        socket.send(question).await.map_err(failed)?;
        let mut datagram = [0; DATAGRAM_BYTES_MAX];
        for _ in 0..STRAYS_MAX {
            let length = socket.recv(&mut datagram).await.map_err(failed)?;
            if let Some(answer) = answer_to(query, &datagram[..length]) {
                return Ok(answer);
            }
        }
        Err(DnsFailure::NotDns.into())
    }

    async fn ask_tcp(
        &self,
        addr: SocketAddr,
        query: &Message,
        question: &[u8],
        stage: &mut Stage,
    ) -> Result<Message, Fault> {
        *stage = Stage::Connect;
        let mut stream = tcp::connect(addr).await?;
        *stage = Stage::Response;
        let failed = |error| Fault::from_io(&error);
        let length = u16::try_from(question.len()).map_err(|_| DnsFailure::NotDns)?;
        let framed = [&length.to_be_bytes(), question].concat();
        stream.write_all(&framed).await.map_err(failed)?;
        let length = stream.read_u16().await.map_err(failed)?;
        let mut bytes = vec![0; length.into()];
        *stage = Stage::Body;
        stream.read_exact(&mut bytes).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Failure::Cut.into(),
            _ => failed(error),
        })?;
        answer_to(query, &bytes).ok_or_else(|| DnsFailure::NotDns.into())
    }

    fn judge(&self, answer: &Message) -> Result<(), DnsFailure> {
        let got = u16::from(answer.metadata.response_code);
        if got != self.rcode {
            return Err(DnsFailure::Rcode { got, wanted: self.rcode });
        }
        let Some(wanted) = &self.answer else { return Ok(()) };
        let mut records = answer.answers.iter().filter(|record| record.record_type() == self.record_type);
        if records.any(|record| plain(&record.data.to_string()) == **wanted) {
            Ok(())
        } else {
            Err(DnsFailure::NoSuchAnswer)
        }
    }
}

/// The message in these bytes, if it answers the question.
fn answer_to(query: &Message, bytes: &[u8]) -> Option<Message> {
    let answer = Message::from_vec(bytes).ok()?;
    let is_ours = answer.metadata.id == query.metadata.id
        && answer.metadata.message_type == MessageType::Response
        // A server that cannot read a question may leave it out.
        && (answer.queries.is_empty() || answer.queries == query.queries);
    is_ours.then_some(answer)
}

fn plain(text: &str) -> String {
    let text = text.trim().to_ascii_lowercase();
    text.strip_suffix('.').map_or(text.clone(), str::to_owned)
}

impl DnsFailure {
    /// A word for metrics, out of a fixed set.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Rcode { .. } => "dns-rcode",
            Self::NoSuchAnswer => "dns-answer",
            Self::NotDns => "not-dns",
        }
    }
}

impl fmt::Display for DnsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Rcode { got, wanted } => write!(f, "DNS says {}, wanted {}", Rcode(got), Rcode(wanted)),
            Self::NoSuchAnswer => f.write_str("the wanted record is not in the DNS answer"),
            Self::NotDns => f.write_str("the answer is not DNS"),
        }
    }
}

/// A response code by its usual name.
struct Rcode(u16);

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];
        match names.get(usize::from(self.0)) {
            Some(name) => f.write_str(name),
            None => write!(f, "response code {}", self.0),
        }
    }
}
