//! The same answers through hickory-server, whose encrypted transports take a [`RequestHandler`].
//!
//! The question is read from the request's own bytes and the sections come from the same function as our own loops use; only
//! their last step differs: record sets become hickory's records.

use async_trait::async_trait;
use hickory_proto::op::{Edns, Header, HeaderCounts, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::Record;
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder};
use hickory_server::net::NetError;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tracing::debug;

use crate::answer::{self, Answer, Entry};
use crate::encode::{self, STREAM_BYTES_MAX, UDP_BYTES_MAX};
use crate::handler::{Handler, limit};
use crate::observe::{DropReason, Protocol, QtypeLabel};
use crate::query::{self, Echo, Refusal, rcode};
use crate::rr::Rtype;

/// An answer in hickory's types.
struct Reply {
    metadata: Metadata,
    edns: Option<Edns>,
    answers: Vec<Record>,
    authority: Vec<Record>,
    additional: Vec<Record>,
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let protocol = protocol(request);
        let Some((reply, qtype)) = self.reply(request.as_slice(), protocol) else {
            self.observer.dropped(protocol, DropReason::NoQuestion);
            return info(Metadata::new(request.metadata.id, MessageType::Response, request.metadata.op_code));
        };
        self.observer.query(protocol, QtypeLabel::new(qtype), whole_rcode(reply.metadata.response_code));
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if let Some(edns) = &reply.edns {
            builder.edns(edns);
        }
        let response = builder.build(reply.metadata, &reply.answers, &reply.authority, [], &reply.additional);
        match response_handle.send_response(response).await {
            Ok(info) => info,
            Err(error) => self.unsent(protocol, &error, reply.metadata),
        }
    }
}

impl Handler {
    fn unsent(&self, protocol: Protocol, error: &NetError, metadata: Metadata) -> ResponseInfo {
        debug!(%error, protocol = protocol.as_str(), "answer could not be sent");
        self.observer.dropped(protocol, DropReason::SendFailed);
        info(metadata)
    }

    /// `None` if no answer is due.
    fn reply(&self, bytes: &[u8], protocol: Protocol) -> Option<(Reply, Option<Rtype>)> {
        match query::parse(bytes) {
            Ok(query) => {
                let view = self.view();
                let mut answer = answer::resolve(&view, &query);
                let limit = limit(&query.echo, protocol);
                // hickory knows neither required glue nor the asker's smaller size; our own encoder says what fits.
                let fit = encode::message(&query.echo, &answer, limit, &mut Vec::new());
                // Its compression is not quite ours: over UDP what may be left out is, or it could push out what may not.
                let kept = if protocol == Protocol::Udp { answer.required } else { fit.additional };
                answer.additional.truncate(kept);
                let reply = if fit.truncated && limit == STREAM_BYTES_MAX {
                    reply(&query.echo, &Answer::empty(rcode::SERVFAIL), false)
                } else {
                    reply(&query.echo, &answer, fit.truncated)
                };
                Some((reply, Some(query.qtype)))
            }
            Err(Refusal::Answer { echo, rcode, qtype }) => {
                Some((reply(&echo, &Answer::empty(rcode), false), qtype))
            }
            Err(Refusal::Drop) => None,
        }
    }
}

fn reply(echo: &Echo<'_>, answer: &Answer<'_>, truncated: bool) -> Reply {
    let opcode = OpCode::from_u8((echo.flags() >> 11 & 0x0f) as u8);
    let mut metadata = Metadata::new(echo.id, MessageType::Response, opcode);
    metadata.authoritative = answer.authoritative;
    metadata.truncation = truncated;
    metadata.recursion_desired = echo.recursion_desired();
    metadata.response_code = ResponseCode::from(answer.rcode >> 4, answer.rcode & 0x0f);
    let edns = echo.edns.map(|asked| {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_BYTES_MAX as u16).set_version(0).set_dnssec_ok(asked.dnssec_ok);
        edns
    });
    let mut reply =
        Reply { metadata, edns, answers: Vec::new(), authority: Vec::new(), additional: Vec::new() };
    if truncated {
        return reply;
    }
    let sections = [&answer.answers, &answer.authority, &answer.additional].map(|entries| records(entries));
    if let [Some(answers), Some(authority), Some(additional)] = sections {
        (reply.answers, reply.authority, reply.additional) = (answers, authority, additional);
    } else {
        reply.metadata.authoritative = false;
        reply.metadata.response_code = ResponseCode::ServFail;
    }
    reply
}

/// `None` if hickory can't read a record's data, which only data given as bytes (`\#`) can bring about.
fn records(entries: &[Entry<'_>]) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    let mut wire = Vec::new();
    for entry in entries {
        for rdata in &entry.set.rdata {
            wire.clear();
            wire.extend_from_slice(entry.owner);
            wire.extend(entry.set.rtype.0.to_be_bytes());
            wire.extend(query::CLASS_IN.to_be_bytes());
            wire.extend(entry.ttl.to_be_bytes());
            wire.extend((rdata.len() as u16).to_be_bytes());
            wire.extend_from_slice(rdata);
            records.push(Record::read(&mut BinDecoder::new(&wire)).ok()?);
        }
    }
    Some(records)
}

fn protocol(request: &Request) -> Protocol {
    use hickory_server::net::xfer::Protocol as Theirs;
    match request.protocol() {
        Theirs::Udp => Protocol::Udp,
        _ => Protocol::Tcp,
    }
}

fn whole_rcode(code: ResponseCode) -> u8 {
    u8::try_from(u16::from(code)).unwrap_or(u8::MAX)
}

fn info(metadata: Metadata) -> ResponseInfo {
    ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() })
}
