//! One GET of a gate's URL: a connection, an answer, and a bounded part of its body. Redirects are not followed: what
//! another host says is not what was asked for.

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tidegate_config::WebUrl;
use tidegate_probe::BODY_BYTES_MAX;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::outbound::{Roots, connect};

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

/// Asks once, without a time limit of its own.
///
/// # Errors
/// Why there is no answer; never with more of the URL than its host.
pub(super) async fn fetch(url: &WebUrl) -> Result<Answer, String> {
    let stream = connect(&url.host, url.port).await?;
    if !url.is_https {
        return exchange(url, stream).await;
    }
    // The first one reads what the system trusts, where reading may block.
    let host = url.host.clone();
    let client = tokio::task::spawn_blocking(move || Roots::system().client(&host)).await;
    let (connector, name) = client.map_err(|error| error.to_string())??;
    let session = connector.connect(name, stream).await;
    exchange(url, session.map_err(|error| format!("TLS with {url}: {error}"))?).await
}

async fn exchange(
    url: &WebUrl,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Answer, String> {
    let failed = |error: hyper::Error| format!("no answer from {url}: {error}");
    let request = Request::get(&url.path)
        .header(header::HOST, url.authority())
        .header(header::USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "application/json, */*;q=0.1")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("no request to {url}: {error}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let mut answer = std::pin::pin!(async {
        let answer = sender.send_request(request).await.map_err(failed)?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), BODY_BYTES_MAX).collect().await;
        let body = body.map_err(|error| format!("no whole answer from {url}: {error}"))?.to_bytes();
        Ok(Answer { status, body })
    });
    tokio::select! {
        // The connection is driven here and not in a task of its own, so that giving up ends it.
        answer = &mut answer => answer,
        ended = connection => {
            ended.map_err(failed)?;
            // The other side is done; what it sent may still be read.
            answer.await
        }
    }
}
