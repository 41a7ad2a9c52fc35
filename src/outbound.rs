//! Calls to URLs of others: webhooks, the sign of life, and gates.
//!
//! A call is one connection and one answer, within a time that its caller sets. Names are resolved in threads of the
//! runtime that may block; how many of those wait for a resolver that hangs is bounded here, because giving up the wait
//! does not end the thread. Redirects are not followed: what is told is meant for the host that was configured.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tidegate_config::WebUrl;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

/// Names that are being resolved at a time.
const LOOKUPS_MAX: usize = 8;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// Of an answer's body this much is read, and then nothing of it used: an answer that was read leaves no reset behind.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Longest pause that an answer may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// A URL, ready to be called.
#[derive(Clone)]
pub(crate) struct Destination {
    url: WebUrl,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Destination({})", self.url)
    }
}

/// Why there was no good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// For people; never with more of the URL than its host.
    pub(crate) what: String,
    /// The other side has understood and does not want it: the same again will hardly do.
    pub(crate) is_refusal: bool,
    /// When it wants to be asked again.
    pub(crate) retry_after: Option<Duration>,
}

impl Fault {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), is_refusal: false, retry_after: None }
    }
}

impl Destination {
    /// Certificates of an `https://` URL have to be signed by one of `roots`.
    ///
    /// # Errors
    /// The host is no name that a certificate could have, or there is nothing to trust.
    pub(crate) fn new(url: WebUrl, roots: &Roots) -> Result<Self, String> {
        let tls = if url.is_https { Some(roots.client(&url.host)?) } else { None };
        Ok(Self { url, tls })
    }

    /// Sends a request; good is every status from 200 to 299. Has no time limit of its own.
    pub(crate) async fn call(
        &self,
        method: Method,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
    ) -> Result<(), Fault> {
        let mut request = Request::builder()
            .method(method)
            .uri(&self.url.path)
            .header(header::HOST, self.url.authority())
            .header(header::USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request =
            request.body(Full::new(body)).map_err(|error| Fault::new(format!("no request: {error}")))?;
        let stream = connect(&self.url.host, self.url.port).await.map_err(Fault::new)?;
        match &self.tls {
            None => exchange(stream, request).await,
            Some((connector, name)) => {
                let session = connector.connect(name.clone(), stream).await;
                let session =
                    session.map_err(|error| Fault::new(format!("TLS with {}: {error}", self.url)))?;
                exchange(session, request).await
            }
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(), Fault> {
    let failed = |error: hyper::Error| Fault::new(format!("no answer: {error}"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(failed)?;
        let (head, body) = answer.into_parts();
        // Nothing in it matters, not even whether it could be read.
        let _ = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        Ok(head)
    };
    let mut answer = std::pin::pin!(answer);
    let head = tokio::select! {
        biased;
        answer = &mut answer => answer?,
        // The connection is driven here and not in a task of its own, so that giving up the call ends it. Its end may
        // come with the answer, which then is there.
        _ = connection => answer.await?,
    };
    judge(head.status, head.headers.get(header::RETRY_AFTER))
}

fn judge(status: StatusCode, retry_after: Option<&HeaderValue>) -> Result<(), Fault> {
    if status.is_success() {
        return Ok(());
    }
    let may_pass = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    let seconds = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Err(Fault {
        what: format!("the answer is {status}"),
        is_refusal: !status.is_server_error() && !may_pass.contains(&status),
        retry_after: seconds.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX)),
    })
}

/// A connection to the first address that takes one.
pub(crate) async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let mut last = format!("{host} has no address");
    for address in resolve(host, port).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Small and at once.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = format!("{address}: {error}"),
        }
    }
    Err(last)
}

/// The addresses of a host, as the system resolves it. Giving up the wait is safe.
pub(crate) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    static LOOKUPS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(LOOKUPS_MAX)));
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let failed = |why: String| format!("{host} cannot be resolved: {why}");
    let permit = LOOKUPS.clone().acquire_owned().await.map_err(|error| failed(error.to_string()))?;
    let name = host.to_owned();
    let lookup = tokio::spawn(async move {
        let found = tokio::net::lookup_host((name, port)).await;
        drop(permit);
        found.map(|addresses| addresses.take(ADDRESSES_MAX).collect::<Vec<_>>())
    });
    match lookup.await {
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// The certificates that are trusted.
#[derive(Clone)]
pub(crate) struct Roots(Arc<RootCertStore>);

impl Roots {
    /// Those of the system, read once.
    pub(crate) fn system() -> Self {
        static SYSTEM: LazyLock<Roots> = LazyLock::new(|| {
            let mut store = RootCertStore::empty();
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Roots(Arc::new(store))
        });
        SYSTEM.clone()
    }

    /// Those of a PEM text.
    ///
    /// # Errors
    /// There is none, or one that cannot be read.
    pub(crate) fn from_pem(pem: &[u8]) -> Result<Self, String> {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject as _;
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| error.to_string())?;
            store.add(certificate).map_err(|error| error.to_string())?;
        }
        if store.is_empty() { Err("no certificate in PEM form".into()) } else { Ok(Self(Arc::new(store))) }
    }

    /// A TLS client that demands a certificate of `host`.
    ///
    /// # Errors
    /// The host is no name that a certificate could have, or there is nothing to trust.
    pub(crate) fn client(&self, host: &str) -> Result<(TlsConnector, ServerName<'static>), String> {
        if self.0.is_empty() {
            return Err("the system trusts no certificate: install ca-certificates, or set `ca`".into());
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|error| format!("{host}: {error}"))?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(self.0.clone())
            .with_no_client_auth();
        Ok((Arc::new(config).into(), name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_good_refused_or_worth_another_try() {
        let judged = |status: u16| {
            judge(StatusCode::from_u16(status).expect("a status"), None).map_err(|fault| fault.is_refusal)
        };
        assert_eq!((judged(200), judged(204), judged(299)), (Ok(()), Ok(()), Ok(())));
        // A redirect is not followed, so it will be one the next time, too.
        assert_eq!(
            (judged(301), judged(400), judged(401), judged(404), judged(410)),
            (Err(true), Err(true), Err(true), Err(true), Err(true))
        );
        assert_eq!(
            (judged(408), judged(425), judged(429), judged(500), judged(503)),
            (Err(false), Err(false), Err(false), Err(false), Err(false))
        );
    }

    #[test]
    fn a_pause_is_heeded_within_bounds() {
        let after = |text: &'static str| {
            judge(StatusCode::SERVICE_UNAVAILABLE, Some(&HeaderValue::from_static(text)))
                .expect_err("no success")
                .retry_after
        };
        assert_eq!(after("120"), Some(Duration::from_secs(120)));
        assert_eq!(after("99999999"), Some(RETRY_AFTER_MAX));
        assert_eq!(after("Fri, 31 Dec 1999 23:59:59 GMT"), None);
        assert_eq!(after("-1"), None);
    }
}
