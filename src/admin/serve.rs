//! The listener of the API: few connections, each of bounded life and patience.
//!
//! Before its token is known a caller costs a place, a handshake and a head, all bounded in time; no address gets
//! more than a few of the places.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::api::Admin;
use super::failures::network;
use super::remote::Source;

/// Connections of one listener, and how many of them one address (or one IPv6 /64) may have; more are closed.
const CONNECTIONS_MAX: usize = 256;
const OF_ADDRESS_MAX: usize = 32;
/// A handshake; a request's head, which is also how long a connection may wait for the next one.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
const HEAD_MAX: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 32 * 1024;
const HEAD_FIELDS_MAX: usize = 64;
/// After this a connection takes no more requests.
const CONNECTION_MAX: Duration = Duration::from_secs(60);
/// What is under way then may still be answered: a reload reads every file.
const FINISH_MAX: Duration = Duration::from_secs(120);
/// Out of descriptors, say: the next try.
const PAUSE: Duration = Duration::from_millis(100);

/// How TLS is spoken with the next connection; none: not at all.
pub type ApiTls = Arc<dyn Fn() -> Option<Arc<ServerConfig>> + Send + Sync>;

/// Serves the API with tokens until `stop` says so; then answers what is under way.
pub async fn serve_api(listener: TcpListener, admin: Admin, tls: ApiTls, stop: watch::Receiver<bool>) {
    let router = admin.remote();
    let places = Arc::new(Places::default());
    let mut attended = JoinSet::new();
    let mut stopped = stop.clone();
    loop {
        tokio::select! {
            () = ended(&mut stopped) => break,
            Some(_) = attended.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    if let Some(place) = Places::take(&places, from.ip()) {
                        let (router, tls, stop) = (router.clone(), tls(), stop.clone());
                        attended.spawn(async move {
                            attend(stream, from.ip(), tls, router, stop).await;
                            drop(place);
                        });
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection to the API was not accepted");
                    sleep(PAUSE).await;
                }
            }
        }
    }
    drop(listener);
    while attended.join_next().await.is_some() {}
}

async fn attend(
    stream: TcpStream,
    from: IpAddr,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    stop: watch::Receiver<bool>,
) {
    // Small answers; without it they would wait for the client's acknowledgements.
    let _ = stream.set_nodelay(true);
    let router = router.layer(Extension(Source(from)));
    match tls {
        None => talk(stream, router, stop).await,
        Some(config) => {
            // Whoever does not finish the handshake is nobody we could tell.
            if let Ok(Ok(stream)) = timeout(HANDSHAKE_MAX, TlsAcceptor::from(config).accept(stream)).await {
                talk(stream, router, stop).await;
            }
        }
    }
}

async fn talk<S>(stream: S, router: Router, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEAD_FIELDS_MAX);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    tokio::select! {
        _ = &mut connection => return,
        () = sleep(CONNECTION_MAX) => {}
        () = ended(&mut stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(FINISH_MAX, connection).await;
}

/// Until nothing more is wanted of the listener.
async fn ended(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Which addresses hold how many connections.
#[derive(Debug, Default)]
struct Places(Mutex<HashMap<IpAddr, usize>>);

/// One of them, for as long as it lives.
struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Places {
    /// None if there are too many.
    fn take(places: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = network(address);
        // Nothing that holds the lock can panic halfway.
        let mut held = places.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = held.get(&address).copied().unwrap_or(0);
        if own >= OF_ADDRESS_MAX || held.values().sum::<usize>() >= CONNECTIONS_MAX {
            return None;
        }
        held.insert(address, own + 1);
        Some(Place { places: places.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = held.get(&self.address).map_or(0, |held| held - 1);
        if left == 0 {
            held.remove(&self.address);
        } else {
            held.insert(self.address, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_takes_the_places_of_all_and_all_take_no_more_than_there_are() {
        let places = Arc::new(Places::default());
        let take = |address: &str| Places::take(&places, address.parse().expect("an address"));
        let mut held: Vec<_> = (0..OF_ADDRESS_MAX).filter_map(|_| take("192.0.2.1")).collect();
        assert_eq!(held.len(), OF_ADDRESS_MAX);
        assert!(take("192.0.2.1").is_none() && take("::ffff:192.0.2.1").is_none());
        for network in 1..CONNECTIONS_MAX / OF_ADDRESS_MAX {
            held.extend(
                (0..OF_ADDRESS_MAX).filter_map(|host| take(&format!("2001:db8:0:{network}::{host:x}"))),
            );
        }
        assert_eq!(held.len(), CONNECTIONS_MAX);
        assert!(take("192.0.2.2").is_none());
        held.clear();
        assert!(places.0.lock().expect("not poisoned").is_empty());
        assert!(take("192.0.2.1").is_some());
    }
}
