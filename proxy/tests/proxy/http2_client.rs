//! An edge that speaks TLS with its clients, and clients that speak HTTP/2 with it: well-behaved ones, and one that writes
//! its frames by hand.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tidegate_proxy::{ClientAddress, Front, FrontTls, Limits, ServiceView, front_tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

use crate::http2_kit::{frame, read_all, send_all};
use crate::kit::{Edge, within};

#[derive(Debug)]
struct One(Arc<CertifiedKey>);

impl ResolvesServerCert for One {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// An edge over TLS and the certificate to believe.
pub(crate) struct SecureEdge {
    pub(crate) edge: Edge,
    certificate: CertificateDer<'static>,
}

impl Deref for SecureEdge {
    type Target = Edge;

    fn deref(&self) -> &Edge {
        &self.edge
    }
}

pub(crate) async fn secure(service: ServiceView, limits: Limits) -> SecureEdge {
    let made = rcgen::generate_simple_self_signed(vec!["app.test".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = rustls::crypto::ring::default_provider();
    let certified = CertifiedKey::from_der(vec![certificate.clone()], key, &provider).unwrap();
    let tls = front_tls(Arc::new(One(Arc::new(certified))), FrontTls::default()).unwrap();
    let edge = Edge::fronted(service, limits, ClientAddress::default(), Front::tls(tls)).await;
    SecureEdge { edge, certificate }
}

impl SecureEdge {
    /// A connection that has agreed on this protocol.
    pub(crate) async fn connect(&self, alpn: &[u8]) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let tcp = within(TcpStream::connect(self.addr)).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from("app.test").unwrap();
        let stream = within(connector.connect(name, tcp)).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn));
        stream
    }

    pub(crate) async fn http2(&self) -> Http2Client {
        let (sender, connection) = within(h2::client::handshake(self.connect(b"h2").await)).await.unwrap();
        Http2Client { sender, driving: tokio::spawn(connection) }
    }

    /// A client that has sent its preface and settings.
    pub(crate) async fn raw(&self) -> RawClient {
        let mut raw = RawClient { stream: self.connect(b"h2").await, buf: Vec::new() };
        raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        raw.send(&frame(4, 0, 0, &[])).await;
        raw
    }
}

/// A well-behaved client.
pub(crate) struct Http2Client {
    pub(crate) sender: SendRequest<Bytes>,
    driving: JoinHandle<Result<(), h2::Error>>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Http2Client {
    pub(crate) async fn ask(
        &mut self,
        request: Request<()>,
        body: Option<&'static [u8]>,
    ) -> Result<Answer, h2::Error> {
        self.ask_with(request, body, None).await
    }

    pub(crate) async fn ask_with(
        &mut self,
        request: Request<()>,
        body: Option<&'static [u8]>,
        trailers: Option<HeaderMap>,
    ) -> Result<Answer, h2::Error> {
        within(async {
            let mut sender = self.sender.clone().ready().await?;
            let (response, mut sending) = sender.send_request(request, body.is_none())?;
            if let Some(body) = body {
                let _ = send_all(&mut sending, Bytes::from_static(body), trailers.is_none()).await;
            }
            if let Some(trailers) = trailers {
                sending.send_trailers(trailers)?;
            }
            let (parts, body) = response.await?.into_parts();
            let (body, trailers) = read_all(body).await.expect("a whole body");
            Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body, trailers })
        })
        .await
    }

    /// Whether the connection has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.driving.is_finished()
    }

    /// Waits for its end, which has to be a polite one.
    pub(crate) async fn over(self) {
        drop(self.sender);
        within(self.driving).await.unwrap().expect("a polite end");
    }

    /// Breaks the connection.
    pub(crate) fn kill(self) {
        self.driving.abort();
    }
}

/// A client that says exactly what it is told.
pub(crate) struct RawClient {
    pub(crate) stream: TlsStream<TcpStream>,
    buf: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl RawClient {
    /// Sends, unless the proxy has closed already.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        within(async { self.stream.write_all(bytes).await.is_ok() && self.stream.flush().await.is_ok() })
            .await
    }

    /// The next frame; `None` when the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        within(async {
            loop {
                if self.buf.len() >= 9 {
                    let head = &self.buf[..9];
                    let length =
                        usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
                    if self.buf.len() >= 9 + length {
                        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                        let kind = head[3];
                        let payload = self.buf.drain(..9 + length).skip(9).collect();
                        return Some(Frame { kind, stream, payload });
                    }
                }
                if self.stream.read_buf(&mut self.buf).await.unwrap_or(0) == 0 {
                    return None;
                }
            }
        })
        .await
    }

    /// The next frame like this; `None` when the connection ends first.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        while let Some(frame) = self.next().await {
            if wanted(&frame) {
                return Some(frame);
            }
        }
        None
    }

    /// Whether the proxy closes the connection, and the reason of its GOAWAY if it said one.
    pub(crate) async fn is_cut(&mut self) -> Option<u32> {
        let mut reason = None;
        while let Some(frame) = self.next().await {
            if frame.kind == 7 {
                reason = Some(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()));
            }
        }
        reason
    }

    /// Sends the same again and again, until the proxy takes no more or for so many times. Reads nothing.
    pub(crate) async fn flood(&mut self, times: usize, bytes: &[u8]) {
        for _ in 0..times {
            let sent = tokio::time::timeout(Duration::from_secs(10), self.stream.write_all(bytes)).await;
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
        let _ = tokio::time::timeout(Duration::from_secs(10), self.stream.flush()).await;
    }
}
