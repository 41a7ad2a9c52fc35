//! Small servers that are well until they are told not to be.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record};
use http::{HeaderMap, HeaderValue, Response};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::scene::free_address;

/// A gRPC server with nothing but its health.
pub(super) struct GrpcServer {
    pub(super) addr: SocketAddr,
    status: Arc<AtomicU8>,
    asked: Arc<Mutex<Vec<u8>>>,
    _task: JoinSet<()>,
}

impl GrpcServer {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let (status, asked) = (Arc::new(AtomicU8::new(1)), Arc::default());
        let mut task = JoinSet::new();
        let (now, told) = (Arc::clone(&status), Arc::clone(&asked));
        task.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(health(stream, Arc::clone(&now), Arc::clone(&told)));
            }
        });
        Self { addr, status, asked, _task: task }
    }

    pub(super) fn serve(&self, status: u8) {
        self.status.store(status, Ordering::SeqCst);
    }

    pub(super) fn was_asked_for(&self, service: &str) -> bool {
        self.asked.lock().expect("nothing panics with it").ends_with(service.as_bytes())
    }
}

async fn health(stream: TcpStream, status: Arc<AtomicU8>, asked: Arc<Mutex<Vec<u8>>>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let (status, asked) = (Arc::clone(&status), Arc::clone(&asked));
        tokio::spawn(async move {
            let mut body = request.into_body();
            while let Some(Ok(chunk)) = body.data().await {
                *asked.lock().expect("nothing panics with it") = chunk.to_vec();
            }
            let head =
                Response::builder().header("content-type", "application/grpc").body(()).expect("a head");
            let Ok(mut sending) = respond.send_response(head, false) else { return };
            let message = vec![0, 0, 0, 0, 2, 8, status.load(Ordering::SeqCst)];
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            let _ = sending.send_data(message.into(), false);
            let _ = sending.send_trailers(trailers);
        });
    }
}

/// A name server that knows one address.
pub(super) struct NameServer {
    pub(super) addr: SocketAddr,
    rcode: Arc<AtomicU8>,
    over_tcp: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

impl NameServer {
    pub(super) async fn start() -> Self {
        let addr = free_address();
        let socket = UdpSocket::bind(addr).await.expect("a port");
        let listener = TcpListener::bind(addr).await.expect("a port");
        let (rcode, over_tcp) = (Arc::new(AtomicU8::new(0)), Arc::new(AtomicBool::new(false)));
        let mut tasks = JoinSet::new();
        let code = Arc::clone(&rcode);
        tasks.spawn(async move {
            let mut bytes = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
                let _ = socket.send_to(&answer(&bytes[..length], &code), from).await;
            }
        });
        let (code, told) = (Arc::clone(&rcode), Arc::clone(&over_tcp));
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let Ok(length) = stream.read_u16().await else { continue };
                let mut bytes = vec![0; length.into()];
                if stream.read_exact(&mut bytes).await.is_ok() {
                    told.store(true, Ordering::SeqCst);
                    let answer = answer(&bytes, &code);
                    let _ =
                        stream.write_all(&[&(answer.len() as u16).to_be_bytes(), &answer[..]].concat()).await;
                }
            }
        });
        Self { addr, rcode, over_tcp, _tasks: tasks }
    }

    pub(super) fn answer(&self, rcode: u8) {
        self.rcode.store(rcode, Ordering::SeqCst);
    }

    pub(super) fn was_asked_over_tcp(&self) -> bool {
        self.over_tcp.load(Ordering::SeqCst)
    }
}

fn answer(question: &[u8], rcode: &AtomicU8) -> Vec<u8> {
    let mut message = Message::from_vec(question).expect("a question");
    message.metadata.message_type = MessageType::Response;
    message.metadata.response_code = ResponseCode::from(0, rcode.load(Ordering::SeqCst));
    let name = message.queries[0].name().clone();
    message.answers.push(Record::from_rdata(name, 60, RData::A(A::new(192, 0, 2, 7))));
    message.to_vec().expect("an answer")
}

/// An authority whose certificates end when they are told to.
pub(super) struct Certificates(Arc<CertifiedIssuer<'static, KeyPair>>);

/// A server that shows one of them, and says nothing.
pub(super) struct TlsServer {
    pub(super) addr: SocketAddr,
    end: Arc<AtomicI64>,
    _task: JoinSet<()>,
}

impl Certificates {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(Arc::new(CertifiedIssuer::self_signed(params, key).expect("a certificate")))
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// For `db.example`.
    pub(super) async fn serve(&self, days: i64) -> TlsServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let (issuer, end) = (Arc::clone(&self.0), Arc::new(AtomicI64::new(in_days(days))));
        let (now, mut task) = (Arc::clone(&end), JoinSet::new());
        task.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor(&issuer, now.load(Ordering::SeqCst));
                open.spawn(async move {
                    if let Ok(mut stream) = acceptor.accept(stream).await {
                        let _ = stream.read_to_end(&mut Vec::new()).await;
                    }
                });
            }
        });
        TlsServer { addr, end, _task: task }
    }
}

impl TlsServer {
    pub(super) fn show(&self, days: i64) {
        self.end.store(in_days(days), Ordering::SeqCst);
    }

    pub(super) fn end(&self) -> i64 {
        self.end.load(Ordering::SeqCst)
    }
}

/// And an hour, so that a slow test does not see a day less.
fn in_days(days: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    now.as_secs().cast_signed() + days * 86_400 + 3600
}

fn acceptor(issuer: &CertifiedIssuer<'static, KeyPair>, end: i64) -> TlsAcceptor {
    let mut params = CertificateParams::new(vec!["db.example".to_owned()]).expect("a name");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = UNIX_EPOCH.into();
    params.not_after += Duration::from_secs(end.cast_unsigned());
    let key = KeyPair::generate().expect("a key");
    let cert = params.signed_by(&key, issuer).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("a certificate and its key");
    TlsAcceptor::from(Arc::new(config))
}
