//! The command line's side of the API: HTTP over the daemon's Unix socket, or over the network with a token.

use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use super::network::{self, Network};
use super::{FAILED, SocketArg, USAGE};
use crate::admin::shape::ApiError;
use crate::load::LoadError;

/// A daemon that does not answer in this time is said not to.
const DEADLINE: Duration = Duration::from_secs(15);
/// A reload reads every file anew, and may have to wait for others.
const RELOAD_DEADLINE: Duration = Duration::from_secs(120);
/// The largest answer that is read.
const ANSWER_MAX: usize = 256 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("cannot tell where the daemon's socket is: {0}\n  next: give --socket PATH or --config FILE")]
    Config(#[from] LoadError),
    #[error("{0}")]
    Usage(String),
    #[error(
        "the socket {path} is not for this account\n  next: run this as root or as the daemon's user, with sudo for instance"
    )]
    Forbidden { path: PathBuf },
    #[error("cannot reach the daemon at {at}: {source}\n  next: {next}")]
    Connect { at: String, source: std::io::Error, next: &'static str },
    #[error("the daemon at {at} did not answer: {detail}")]
    Answer { at: String, detail: String },
    #[error("{}", .0.lines())]
    Refused(ApiError),
}

impl ClientError {
    /// The error as `--json` prints it.
    pub(crate) fn shape(&self) -> ApiError {
        let plain = |label: &str| ApiError { label: label.into(), message: self.to_string(), next: None };
        match self {
            Self::Refused(error) => error.clone(),
            Self::Config(_) => plain("config"),
            Self::Usage(_) => plain("usage"),
            Self::Forbidden { .. } => plain("forbidden"),
            Self::Connect { .. } | Self::Answer { .. } => plain("unreachable"),
        }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Config(error) => error.exit_code(),
            Self::Usage(_) => USAGE,
            Self::Refused(error) if error.label == "config" => USAGE,
            _ => FAILED,
        }
    }
}

pub(crate) struct Client(Way);

/// How the daemon is reached.
enum Way {
    Socket(PathBuf),
    Network(Box<Network>),
}

/// A connection to the daemon, whatever it is made of.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Client {
    /// Over the network where a URL is given; else the socket given, or else the one the configuration names.
    pub(super) fn find(arguments: &SocketArg) -> Result<Self, ClientError> {
        if let Some(network) = Network::of(&arguments.network)? {
            return Ok(Self(Way::Network(Box::new(network))));
        }
        match &arguments.socket {
            Some(socket) => Ok(Self::at(socket.clone())),
            None => Ok(Self::at(crate::load::control_socket(&arguments.config.config)?)),
        }
    }

    pub(crate) fn at(socket: PathBuf) -> Self {
        Self(Way::Socket(socket))
    }

    /// One request; the text of a good answer.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<String, ClientError> {
        let deadline = if path == "/api/v1/reload" { RELOAD_DEADLINE } else { DEADLINE };
        // So that an order whose answer was lost on the way can be asked for again, and is done once.
        let key = format!("{:032x}", fastrand::u128(..));
        let exchange = async {
            match self.exchange(method, path, body, &key).await {
                Err(ClientError::Answer { .. }) if matches!(self.0, Way::Network(_)) => {
                    self.exchange(method, path, body, &key).await
                }
                other => other,
            }
        };
        let answer = tokio::time::timeout(deadline, exchange).await;
        answer.map_err(|_| self.lost(format!("no answer within {} s", deadline.as_secs())))?
    }

    /// [`call`](Self::call) for callers that wait for nothing else.
    pub(crate) fn call_and_wait(
        &self,
        method: &str,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<String, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| self.lost(error))?.block_on(self.call(method, path, body))
    }

    /// A document of the daemon's.
    pub(crate) fn read<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let text = self.call_and_wait("GET", path, None)?;
        serde_json::from_str(&text)
            .map_err(|error| self.lost(format!("it is not understood ({error}); are the versions alike?")))
    }

    /// One request for an answer of any length, whose pieces are handed to `take` as they come, until it says that it has
    /// enough.
    pub(crate) fn stream(&self, path: &str, take: impl FnMut(&[u8]) -> bool) -> Result<(), ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| self.lost(error))?.block_on(self.pieces(path, take))
    }

    async fn pieces(&self, path: &str, mut take: impl FnMut(&[u8]) -> bool) -> Result<(), ClientError> {
        let late = || self.lost(format!("nothing came for {} s", DEADLINE.as_secs()));
        let response = tokio::time::timeout(DEADLINE, self.send("GET", path, None, "")).await;
        let response = response.map_err(|_| late())??;
        if !response.status().is_success() {
            return self.text(response).await.map(|_| ());
        }
        let mut body = response.into_body();
        while let Some(frame) = tokio::time::timeout(DEADLINE, body.frame()).await.map_err(|_| late())? {
            let frame = frame.map_err(|error| self.lost(format!("the answer broke off: {error}")))?;
            if frame.data_ref().is_some_and(|data| !take(data)) {
                break;
            }
        }
        Ok(())
    }

    async fn exchange(
        &self,
        method: &str,
        path: &str,
        body: Option<&serde_json::Value>,
        key: &str,
    ) -> Result<String, ClientError> {
        self.text(self.send(method, path, body, key).await?).await
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<&serde_json::Value>,
        key: &str,
    ) -> Result<Response<Incoming>, ClientError> {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(self.connect().await?))
                .await
                .map_err(|error| self.lost(error))?;
        tokio::spawn(connection);
        let body = body.map(ToString::to_string).unwrap_or_default();
        let mut request =
            Request::builder().method(method).uri(path).header("content-type", "application/json");
        request = match &self.0 {
            Way::Socket(_) => request.header("host", "tidegate"),
            Way::Network(network) => {
                request.header("host", &network.authority).header("authorization", network.bearer.clone())
            }
        };
        if method == "POST" {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Full::new(bytes::Bytes::from(body))).map_err(|error| self.lost(error))?;
        sender.send_request(request).await.map_err(|error| self.lost(error))
    }

    /// The text of a good answer.
    async fn text(&self, response: Response<Incoming>) -> Result<String, ClientError> {
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_MAX)
            .collect()
            .await
            .map_err(|error| self.lost(error))?;
        let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        if status.is_success() {
            return Ok(text);
        }
        Err(match serde_json::from_str(&text) {
            Ok(refusal) => ClientError::Refused(refusal),
            Err(_) => self.lost(format!("{status}: {text}")),
        })
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, ClientError> {
        match &self.0 {
            Way::Network(network) => match network.connect().await {
                Ok(network::Stream::Plain(stream)) => Ok(Box::new(stream)),
                Ok(network::Stream::Tls(stream)) => Ok(stream),
                Err(source) => Err(ClientError::Connect {
                    at: self.place(),
                    source,
                    next: "is that its `listen.api`? is its certificate for this name, by a CA that is trusted here? `--ca FILE`",
                }),
            },
            Way::Socket(path) => match UnixStream::connect(path).await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(source) if source.kind() == std::io::ErrorKind::PermissionDenied => {
                    Err(ClientError::Forbidden { path: path.clone() })
                }
                Err(source) => Err(ClientError::Connect {
                    at: self.place(),
                    source,
                    next: "is it running? `tidegate run --config FILE`; is the socket another one? `--socket PATH`",
                }),
            },
        }
    }

    fn place(&self) -> String {
        match &self.0 {
            Way::Socket(path) => path.display().to_string(),
            Way::Network(network) => network.to_string(),
        }
    }

    fn lost(&self, detail: impl std::fmt::Display) -> ClientError {
        ClientError::Answer { at: self.place(), detail: format!("{detail}") }
    }
}

/// A name as one segment of a path or one value of a query.
pub(crate) fn segment(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
