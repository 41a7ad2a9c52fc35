//! The two listeners, and who is calling.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tidegate_health::id::Name;
use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::api::Admin;

/// The caller, as the kernel knows it.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// The account's name, or its number.
    pub(super) account: Name,
    /// Root or the daemon's own user.
    pub(super) owner: bool,
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
    let service = admin.whole().into_make_service_with_connect_info::<Peer>();
    // The listener never ends by itself.
    let _ = axum::serve(listener, service).await;
}

/// Serves what changes nothing on TCP until the task is dropped.
pub async fn serve_tcp(listener: TcpListener, admin: Admin) {
    let _ = axum::serve(listener, admin.read_only()).await;
}
