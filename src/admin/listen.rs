//! The two listeners, and who is calling.

use std::fs::Permissions;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use tidegate_health::id::Name;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Sleep;

use super::api::Admin;
use super::caller::{Caller, Role};

/// The caller, as the kernel knows it.
#[derive(Clone, Debug)]
struct Peer {
    /// The account's name, or its number.
    account: Name,
    /// Root or the daemon's own user.
    owner: bool,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self::of(stream.io())
    }
}

impl Peer {
    /// A caller without credentials is nobody.
    fn of(stream: &UnixStream) -> Self {
        match stream.peer_cred() {
            Ok(credentials) => {
                let (uid, own) = (credentials.uid(), rustix::process::geteuid().as_raw());
                Self { account: account(uid), owner: uid == 0 || uid == own }
            }
            Err(_) => Self { account: "unknown".into(), owner: false },
        }
    }
}

/// The name of an account, for the history; its number where the local file does not know it.
fn account(uid: u32) -> Name {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut names = passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        (id.parse() == Ok(uid)).then_some(name)
    });
    names.next().map_or_else(|| format!("uid {uid}").into(), Name::from)
}

/// Binds the control socket, readable and writable for its owner alone. A socket nobody listens on is replaced.
///
/// # Errors
/// Something else is at the path, another daemon listens there, or the path cannot be bound.
pub fn bind_socket(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is something that is no socket"));
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another tidegate listens there"));
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    let file = SocketFile(path.to_owned());
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok((listener, file))
}

/// The file of a bound socket. It goes with its owner, however the daemon ends.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // The next start replaces a socket nobody listens on, so a failure here costs nothing.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Serves the whole API on the Unix socket until the task is dropped.
pub async fn serve_socket(listener: UnixListener, admin: Admin) {
    let service = admin.whole().layer(from_fn(identify)).into_make_service_with_connect_info::<Peer>();
    // The listener never ends by itself.
    let _ = axum::serve(listener, service).await;
}

/// The owner may do everything, any other account may look.
async fn identify(ConnectInfo(peer): ConnectInfo<Peer>, mut request: Request, next: Next) -> Response {
    let role = if peer.owner { Role::Admin } else { Role::View };
    let advice = "call as root or as the daemon's user";
    request.extensions_mut().insert(Caller { actor: peer.account, role, advice });
    next.run(request).await
}

/// Binds the TCP listener.
///
/// # Errors
/// What the system says: address in use, not permitted, not local.
pub fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Serves what changes nothing on TCP until `stop` says so; then answers what is under way.
pub async fn serve_tcp(listener: TcpListener, admin: Admin, mut stop: watch::Receiver<bool>) {
    let stopped = async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let _ = axum::serve(Few::new(listener), admin.open()).with_graceful_shutdown(stopped).await;
}

/// Connections of the TCP listener at a time; more wait. Scrapes are few, and the descriptors are the traffic's.
const CONNECTIONS_MAX: usize = 64;
/// A connection lasts no longer, whatever it does or does not send.
const CONNECTION_MAX: Duration = Duration::from_secs(60);

/// A listener with few connections of bounded life.
struct Few {
    listener: TcpListener,
    permits: Arc<Semaphore>,
}

/// One connection: it ends in an error when its time is over.
struct Brief {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Few {
    fn new(listener: TcpListener) -> Self {
        Self { listener, permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }
}

impl Listener for Few {
    type Io = Brief;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Brief, SocketAddr) {
        // The semaphore is never closed, so there is always a permit in the end.
        let permit = self.permits.clone().acquire_owned().await.ok();
        // axum's own loop for TCP backs off where accepting fails.
        let (stream, address) = Listener::accept(&mut self.listener).await;
        (Brief { stream, end: Box::pin(tokio::time::sleep(CONNECTION_MAX)), _permit: permit }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl AsyncRead for Brief {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Brief {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
