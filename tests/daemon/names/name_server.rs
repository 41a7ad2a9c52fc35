//! A resolver of a test's own, whose answers the test changes.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType};
use hickory_proto::serialize::binary::BinDecodable;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// What it says of a name.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    /// These, each question in another order, with this TTL.
    Addresses(Vec<IpAddr>, u32),
    /// An answer without addresses, or with this code.
    Code(ResponseCode),
    /// Nothing, ever.
    Silent,
}

type Answers = Arc<Mutex<HashMap<String, Say>>>;

pub(crate) struct NameServer {
    pub(crate) addr: SocketAddr,
    answers: Answers,
    asked: Arc<Mutex<u64>>,
    task: JoinHandle<()>,
}

impl NameServer {
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port is free");
        let addr = socket.local_addr().expect("it is bound");
        let (answers, asked) = (Answers::default(), Arc::new(Mutex::new(0)));
        let task = tokio::spawn(serve(socket, answers.clone(), asked.clone()));
        Self { addr, answers, asked, task }
    }

    pub(crate) fn say(&self, name: &str, say: Say) {
        self.answers.lock().expect("no panic").insert(name.to_owned(), say);
    }

    /// These addresses, with a TTL of a second.
    pub(crate) fn name(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|text| text.parse().expect("an address")).collect();
        self.say(name, Say::Addresses(addresses, 1));
    }

    pub(crate) fn asked(&self) -> u64 {
        *self.asked.lock().expect("no panic")
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: UdpSocket, answers: Answers, asked: Arc<Mutex<u64>>) {
    let mut buffer = [0; 1500];
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else { continue };
        let turn = {
            let mut asked = asked.lock().expect("no panic");
            *asked += 1;
            usize::try_from(*asked).expect("a short test")
        };
        if let Some(answer) = answer(&buffer[..length], &answers, turn) {
            let _ = socket.send_to(&answer, peer).await;
        }
    }
}

fn answer(question: &[u8], answers: &Answers, turn: usize) -> Option<Vec<u8>> {
    let question = Message::from_bytes(question).expect("a resolver asks in DNS");
    let query = question.queries.first().expect("a resolver asks for something").clone();
    let name = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
    let say = answers.lock().expect("no panic").get(&name).cloned();
    let mut answer = Message::new(question.metadata.id, MessageType::Response, question.metadata.op_code);
    (answer.metadata.recursion_desired, answer.metadata.recursion_available) = (true, true);
    answer.add_query(query.clone());
    match say.unwrap_or(Say::Code(ResponseCode::NXDomain)) {
        Say::Silent => return None,
        Say::Code(code) => answer.metadata.response_code = code,
        Say::Addresses(mut addresses, ttl) => {
            addresses.retain(|ip| ip.is_ipv6() == (query.query_type() == RecordType::AAAA));
            if !addresses.is_empty() {
                let by = turn % addresses.len();
                addresses.rotate_left(by);
            }
            let records = addresses.into_iter().map(RData::from);
            answer.add_answers(records.map(|data| Record::from_rdata(query.name().clone(), ttl, data)));
        }
    }
    answer.to_vec().ok()
}
