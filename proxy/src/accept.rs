//! Accepting client connections: bounded, never spinning, and drained on request.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::front::{self, Front};
use crate::observe::RefusedFor;
use crate::{Shared, connection};

/// What the listeners are asked to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Accept and serve.
    #[default]
    Running,
    /// Accept no more; close idle connections; answer what is in flight, then close. Tunnels stay.
    Draining,
    /// Cut everything that is left.
    Stop,
}

/// Waiting connections the kernel may hold.
const BACKLOG: i32 = 4096;

const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(5);

/// Listens on an address, with `SO_REUSEADDR` so that a restart does not wait for old connections. An IPv6 wildcard
/// takes IPv6 only, so that `0.0.0.0` can be listed beside it.
///
/// Must be called within a runtime.
///
/// # Errors
/// What the system says: address in use, not permitted, not local.
pub fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound(addr)?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Whether [`bind`] could have the address, as far as that can be told without listening: nobody can connect meanwhile.
///
/// # Errors
/// As [`bind`].
pub fn try_bind(addr: SocketAddr) -> io::Result<()> {
    bound(addr).map(drop)
}

fn bound(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

/// Serves one listener until it is asked to drain or stop, and returns when its last connection has ended.
///
/// The deadline of a drain is the caller's: it sends [`Phase::Stop`]. A dropped sender counts as that.
pub async fn serve(
    listener: TcpListener,
    front: Front,
    shared: Arc<Shared>,
    mut phase: watch::Receiver<Phase>,
) {
    // Every connection holds a sender; the receiver ends when the last one is dropped.
    let (alive, mut ended) = mpsc::channel::<()>(1);
    let mut pause = ACCEPT_PAUSE_MIN;
    loop {
        let accepted = tokio::select! {
            biased;
            () = leaves_running(&mut phase) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, socket)) => {
                pause = ACCEPT_PAUSE_MIN;
                let settings = shared.settings();
                let Some(place) = shared.admission.enter(settings.limits.connections_max) else {
                    front::turn_away(&shared, &front, &tcp, RefusedFor::Total);
                    continue;
                };
                let (shared, front) = (Arc::clone(&shared), front.clone());
                let (phase, alive) = (phase.clone(), alive.clone());
                tokio::spawn(async move {
                    let counted = Counted::new(&shared);
                    connection::run(&shared, &front, tcp, socket, phase).await;
                    drop((counted, place, alive));
                });
            }
            Err(error) if is_exhaustion(&error) => {
                shared.observer.accept_paused();
                tracing::warn!(%error, ?pause, "cannot accept connections, pausing");
                tokio::select! {
                    () = leaves_running(&mut phase) => break,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(shared.settings().limits.accept_pause_max.max(ACCEPT_PAUSE_MIN));
            }
            // The client gave up between its SYN and our accept.
            Err(error) => tracing::debug!(%error, "accept failed"),
        }
    }
    drop((listener, alive));
    let _ = ended.recv().await;
}

/// An open connection as observers count it, however it ends.
struct Counted<'a>(&'a Shared);

impl<'a> Counted<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.observer.connection_opened();
        Self(shared)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.observer.connection_closed();
    }
}

/// Ends when the phase is no longer running.
async fn leaves_running(phase: &mut watch::Receiver<Phase>) {
    let _ = phase.wait_for(|&phase| phase != Phase::Running).await;
}

/// Out of descriptors, buffers or memory: trying again at once would spin.
fn is_exhaustion(error: &io::Error) -> bool {
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    matches!(error.raw_os_error(), Some(ENOMEM | ENFILE | EMFILE | ENOBUFS))
}
