//! The daemon over the network: where it is, whom to trust that it is the one, and the token that says who we are.
//!
//! The token comes from the environment or from a file, never from an argument: arguments are for everybody to see.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use http::uri::Scheme;
use http::{HeaderValue, Uri};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::client::ClientError;
use crate::admin::is_token;

const TOKEN: &str = "TIDEGATE_TOKEN";
/// More is no token.
const TOKEN_FILE_BYTES_MAX: u64 = 4096;

#[derive(Args, Debug)]
pub(crate) struct NetworkArg {
    /// The daemon's `listen.api`, as https://edge.example:9443, in place of the socket. The token is read from the
    /// environment, TIDEGATE_TOKEN, or from a file.
    #[arg(long, env = "TIDEGATE_URL")]
    url: Option<String>,
    /// File with the token for `--url`.
    #[arg(long, value_name = "FILE", env = "TIDEGATE_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// PEM file of the authority that certifies the daemon of `--url`; the system's unless given.
    #[arg(long, value_name = "FILE", env = "TIDEGATE_CA")]
    ca: Option<PathBuf>,
}

/// A daemon that is reached over the network.
pub(super) struct Network {
    url: String,
    pub(super) authority: String,
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    pub(super) bearer: HeaderValue,
}

pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Network {
    /// None where no URL is given.
    pub(super) fn of(arguments: &NetworkArg) -> Result<Option<Self>, ClientError> {
        let Some(url) = arguments.url.as_deref().filter(|url| !url.is_empty()) else { return Ok(None) };
        let wrong =
            |what: &str| ClientError::Usage(format!("`{url}` {what}\n  next: give it as https://HOST:PORT"));
        let uri: Uri = url.parse().map_err(|_| wrong("is no URL"))?;
        let is_bare = uri.path_and_query().is_none_or(|path| path.as_str() == "/");
        let authority = uri.authority().filter(|authority| is_bare && !authority.as_str().contains('@'));
        let authority = authority.ok_or_else(|| wrong("is more than the address of a daemon"))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_tls = uri.scheme() == Some(&Scheme::HTTPS);
        if !is_tls && uri.scheme() != Some(&Scheme::HTTP) {
            return Err(wrong("is neither https nor http"));
        }
        if !is_tls && !is_loopback(&host) {
            return Err(wrong("would carry the token in the clear"));
        }
        let tls = if is_tls { Some(tls(&host, arguments.ca.as_deref())?) } else { None };
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let bearer = bearer(&token(arguments.token_file.as_deref())?)?;
        Ok(Some(Self { url: url.to_owned(), authority: authority.to_string(), host, port, tls, bearer }))
    }

    pub(super) async fn connect(&self) -> io::Result<Stream> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        match &self.tls {
            None => Ok(Stream::Plain(stream)),
            Some((connector, name)) => {
                Ok(Stream::Tls(Box::new(connector.connect(name.clone(), stream).await?)))
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.parse().is_ok_and(|address: std::net::IpAddr| address.to_canonical().is_loopback())
}

/// The text of the token, wherever it is.
fn token(file: Option<&Path>) -> Result<String, ClientError> {
    let text = match (file, std::env::var(TOKEN)) {
        (Some(file), _) => {
            let cannot = |error: io::Error| {
                ClientError::Usage(format!("the token in {} cannot be read: {error}", file.display()))
            };
            if std::fs::metadata(file).map_err(cannot)?.len() > TOKEN_FILE_BYTES_MAX {
                return Err(ClientError::Usage(format!("{} is too long to be a token", file.display())));
            }
            std::fs::read_to_string(file).map_err(cannot)?
        }
        (None, Ok(token)) => token,
        (None, Err(_)) => {
            let message = "a call over the network needs a token";
            let next = "set TIDEGATE_TOKEN, or give --token-file FILE; `tidegate token create` on the edge makes one";
            return Err(ClientError::Usage(format!("{message}\n  next: {next}")));
        }
    };
    let token = text.trim();
    if !is_token(token) {
        // Not shown: it may be another secret.
        let message = "what was given is no token: it has another form, or a typing error";
        let next = "a token is `tgt_` and 72 digits, as `tidegate token create` printed it";
        return Err(ClientError::Usage(format!("{message}\n  next: {next}")));
    }
    Ok(token.to_owned())
}

fn bearer(token: &str) -> Result<HeaderValue, ClientError> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| ClientError::Usage("the token cannot be sent".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn tls(host: &str, ca: Option<&Path>) -> Result<(TlsConnector, ServerName<'static>), ClientError> {
    let usage = |message: String| ClientError::Usage(message);
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| usage(format!("`{host}` is no name that a certificate could be for")))?;
    let mut roots = RootCertStore::empty();
    match ca {
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        Some(file) => {
            let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let found = read.map_err(|error| usage(format!("{} cannot be used: {error}", file.display())))?;
            roots.add_parsable_certificates(found);
        }
    }
    if roots.is_empty() {
        return Err(usage(
            "there is no authority to trust\n  next: give --ca FILE, or install ca-certificates".into(),
        ));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| usage(format!("TLS cannot be set up: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok((TlsConnector::from(Arc::new(config)), name))
}
