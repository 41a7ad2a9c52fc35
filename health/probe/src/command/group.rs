//! A running program and all its children, as one thing that can be ended.

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::runtime::Handle;

use super::Slot;

/// A process group whose leader we started. Dropping it kills all that are in it.
pub(super) struct Group {
    /// The leader's number and the group's. Ours until the leader is reaped.
    pid: Pid,
    /// None once it is reaped, or somebody else is to do so.
    leader: Option<(Child, Slot)>,
    /// Becomes readable when the leader has ended, and leaves it unreaped.
    end: AsyncFd<OwnedFd>,
}

impl Group {
    /// Starts a program as the leader of a new group. Inside a runtime; may block.
    pub(super) fn start(mut command: Command, slot: Slot) -> io::Result<Self> {
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let pid = pid.ok_or_else(|| io::Error::other("the program has no number"))?;
        // From here on whatever fails drops the child, which kills it; children it may have started by then are
        // killed with it.
        let opened = pidfd_open(pid, PidfdFlags::NONBLOCK).map_err(io::Error::from);
        match opened.and_then(watched) {
            Ok(end) => Ok(Self { pid, leader: Some((child, slot)), end }),
            Err(error) => {
                kill(pid);
                Err(error)
            }
        }
    }

    pub(super) fn stdin(&mut self) -> Option<ChildStdin> {
        self.leader.as_mut().and_then(|(child, _)| child.stdin.take())
    }

    pub(super) fn outputs(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        let child = self.leader.as_mut().map(|(child, _)| child);
        child.map_or((None, None), |child| (child.stdout.take(), child.stderr.take()))
    }

    /// Waits until the leader has ended. It is not reaped by this, so its number stays its own.
    pub(super) async fn ended(&self) -> io::Result<()> {
        self.end.readable().await.map(drop)
    }

    /// Kills all that are in the group. They cannot refuse.
    pub(super) fn kill(&self) {
        if self.leader.is_some() {
            kill(self.pid);
        }
    }

    /// How the leader ended. Only after [`ended`](Self::ended) and [`kill`](Self::kill).
    pub(super) async fn reap(mut self) -> io::Result<ExitStatus> {
        let Some((mut child, _slot)) = self.leader.take() else {
            return Err(io::Error::other("the program is reaped already"));
        };
        child.wait().await
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        let Some((mut child, slot)) = self.leader.take() else { return };
        // A process that waits for a disk dies when that answers. Until then it counts as one that runs.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                let _ = child.wait().await;
                drop(slot);
            });
        }
    }
}

#[expect(
    deprecated,
    reason = "sound here, and its successor is not safe to call: an OwnedFd stays open and the same"
)]
fn watched(end: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(end, Interest::READABLE)
}

fn kill(group: Pid) {
    // The only way to fail is that all of them are gone.
    let _ = kill_process_group(group, Signal::KILL);
}
