//! DNS over UDP (RFC 1035 section 4.2.1).
//!
//! Answers leave from the address that the system chooses. On a socket bound to a wildcard address of a host with several
//! addresses that may not be the one that was asked, and resolvers drop such answers: bind one socket per address there.

use std::io;
use std::net::{SocketAddr, UdpSocket as StdUdpSocket};
use std::sync::Arc;

use socket2::{Domain, Protocol as SocketProtocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tracing::warn;

use crate::handler::{Handler, Outcome};
use crate::observe::{DropReason, Protocol};
use crate::pause::{Pause, stopped};

/// Largest question read. A question with options has a few hundred bytes; what is longer is cut and so refused.
const QUERY_BYTES_MAX: usize = 4096;
/// Questions answered before other tasks get their turn.
const BURST_MAX: usize = 64;
/// Kernel buffers asked for, in bytes; the system may grant less. They hold bursts while no task runs.
const SOCKET_BUFFER_BYTES: usize = 1 << 20;

/// Binds a socket. With `reuse_port` several sockets may share the address, each with its share of the questions.
///
/// # Errors
/// As the system says: address in use or not ours, no permission for the port, no file descriptor.
pub fn bind(address: SocketAddr, reuse_port: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(SocketProtocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(reuse_port)?;
    // Smaller buffers still work, so a refusal is no reason not to serve.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(StdUdpSocket::from(socket))
}

/// Answers questions on `socket` until `shutdown` becomes true or its sender is gone. Several tasks may serve one socket
/// (share it by `Arc`). What has been read is answered before this returns.
pub async fn serve(socket: Arc<UdpSocket>, handler: Arc<Handler>, mut shutdown: watch::Receiver<bool>) {
    let mut buffer = vec![0; QUERY_BYTES_MAX];
    let mut out = Vec::with_capacity(QUERY_BYTES_MAX);
    let mut pause = Pause::default();
    loop {
        let ready = tokio::select! {
            biased;
            () = stopped(&mut shutdown) => {
                // What came before the end is answered, as far as it goes.
                let _ = burst(&socket, &handler, &mut buffer, &mut out);
                return;
            }
            ready = socket.readable() => ready,
        };
        match ready.and_then(|()| burst(&socket, &handler, &mut buffer, &mut out)) {
            Ok(()) => pause.reset(),
            Err(error) => {
                handler.observer.dropped(Protocol::Udp, DropReason::ReceiveFailed);
                warn!(%error, "reading questions over UDP failed");
                tokio::select! {
                    () = stopped(&mut shutdown) => return,
                    () = tokio::time::sleep(pause.next()) => {}
                }
            }
        }
        tokio::task::consume_budget().await;
    }
}

/// Answers what is there to be read, up to a bound.
fn burst(socket: &UdpSocket, handler: &Handler, buffer: &mut [u8], out: &mut Vec<u8>) -> io::Result<()> {
    for _ in 0..BURST_MAX {
        let (length, from) = match socket.try_recv_from(buffer) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            // An ICMP error about an earlier answer; it says nothing about this socket.
            Err(error) if is_about_a_peer(&error) => continue,
            Err(error) => return Err(error),
        };
        // Nobody listens on port 0, and sending there is an error for each packet.
        if from.port() == 0 {
            continue;
        }
        if handler.answer(&buffer[..length], Protocol::Udp, out) != Outcome::Dropped
            && socket.try_send_to(out, from).is_err()
        {
            // Waiting for one slow or unreachable asker would keep all others waiting; it asks again.
            handler.observer.dropped(Protocol::Udp, DropReason::SendFailed);
        }
    }
    Ok(())
}

fn is_about_a_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::Interrupted
    )
}
