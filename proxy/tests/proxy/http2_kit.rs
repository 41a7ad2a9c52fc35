//! Origins and clients that speak HTTP/2, and frames written by hand.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tidegate_proxy::{EjectionPolicy, Target};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What an origin got.
#[derive(Default)]
pub(crate) struct Got {
    pub(crate) connections: AtomicUsize,
    /// Requests whose head came, whether or not they were answered.
    pub(crate) requests: Mutex<Vec<http::request::Parts>>,
    pub(crate) bodies: Mutex<Vec<(Vec<u8>, Option<HeaderMap>)>>,
}

impl Got {
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

type Talk = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An origin on loopback that expects HTTP/2 without being asked (prior knowledge).
pub(crate) struct Http2Origin {
    pub(crate) addr: SocketAddr,
    pub(crate) got: Arc<Got>,
}

impl Http2Origin {
    /// One talk per connection.
    pub(crate) async fn raw(talk: impl Fn(TcpStream, Arc<Got>) -> Talk + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let got = Arc::new(Got::default());
        let shared = Arc::clone(&got);
        tokio::spawn(async move {
            let mut talks = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                talks.spawn(talk(stream, Arc::clone(&shared)));
            }
        });
        Self { addr, got }
    }

    /// One talk per request, on connections that take so many at once.
    pub(crate) async fn serving(
        streams_max: u32,
        reply: impl Fn(http::request::Parts, RecvStream, SendResponse<Bytes>, Arc<Got>) -> Talk
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let reply = Arc::new(reply);
        Self::raw(move |stream, got| {
            let reply = Arc::clone(&reply);
            Box::pin(async move {
                let handshake = Builder::new().max_concurrent_streams(streams_max).handshake(stream).await;
                let Ok(mut connection) = handshake else { return };
                let mut replies = JoinSet::new();
                while let Some(Ok((request, respond))) = connection.accept().await {
                    let (parts, body) = request.into_parts();
                    got.requests.lock().unwrap().push(parts.clone());
                    replies.spawn(reply(parts, body, respond, Arc::clone(&got)));
                }
            })
        })
        .await
    }

    /// Reads the request to its end and answers 200 with this text.
    pub(crate) async fn named(name: &'static str) -> Self {
        Self::serving(100, move |_, body, mut respond, got| {
            Box::pin(async move {
                let Some(read) = read_all(body).await else { return };
                got.bodies.lock().unwrap().push(read);
                let _ = answer(&mut respond, name, None);
            })
        })
        .await
    }

    pub(crate) fn target(&self) -> Arc<Target> {
        http2_target(self.addr)
    }
}

pub(crate) fn http2_target(addr: SocketAddr) -> Arc<Target> {
    Target::new_http2(addr.to_string().into(), addr, None, EjectionPolicy::default()).unwrap()
}

/// A body and its trailers; `None` if it broke off.
pub(crate) async fn read_all(mut body: RecvStream) -> Option<(Vec<u8>, Option<HeaderMap>)> {
    let mut all = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.ok()?;
        all.extend_from_slice(&piece);
        body.flow_control().release_capacity(piece.len()).ok()?;
    }
    Some((all, body.trailers().await.ok()?))
}

/// 200 with a text, in one go.
pub(crate) fn answer(
    respond: &mut SendResponse<Bytes>,
    text: &'static str,
    trailers: Option<HeaderMap>,
) -> Result<(), h2::Error> {
    let mut sending = respond.send_response(Response::new(()), false)?;
    sending.send_data(Bytes::from_static(text.as_bytes()), trailers.is_none())?;
    trailers.map_or(Ok(()), |trailers| sending.send_trailers(trailers))
}

/// Refuses a stream: nothing of it was processed.
pub(crate) fn refuse(mut respond: SendResponse<Bytes>) {
    respond.send_reset(Reason::REFUSED_STREAM);
}

/// Sends all of it, as the window allows.
pub(crate) async fn send_all(sending: &mut SendStream<Bytes>, mut data: Bytes, end: bool) -> Option<()> {
    while !data.is_empty() {
        sending.reserve_capacity(data.len());
        let room = std::future::poll_fn(|cx| sending.poll_capacity(cx)).await?.ok()?;
        let part = data.split_to(room.min(data.len()));
        let last = end && data.is_empty();
        sending.send_data(part, last).ok()?;
    }
    Some(())
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A field as HPACK spells it without any table (RFC 7541, section 6.2.2), so that nothing is checked.
pub(crate) fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        let length = text.len();
        assert!(length < 127 + 128, "a length of one or two bytes");
        if length < 127 {
            bytes.push(u8::try_from(length).unwrap());
        } else {
            bytes.extend([127, u8::try_from(length - 127).unwrap()]);
        }
        bytes.extend_from_slice(text);
    }
    bytes
}

/// The pseudo-fields of a GET.
pub(crate) fn get_fields() -> Vec<u8> {
    [
        literal(b":method", b"GET"),
        literal(b":scheme", b"https"),
        literal(b":path", b"/"),
        literal(b":authority", b"app.test"),
    ]
    .concat()
}

pub(crate) fn request(method: &str, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("https://app.test{path}")).body(()).unwrap()
}
