//! What the service manager is told, and when: `sd_notify(3)`.
//!
//! Ready means that traffic is served, not that the process runs; and the watchdog is fed only while the control task
//! answers, for an edge that answers and can no longer decide is the failure nobody sees. Without a service manager all
//! of it does nothing. The socket is our own: it never waits for a manager that does not read, and tests can play one.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use tidegate_health::status::{Condition, GroupStatus, Status};

use crate::control::Handle;
use crate::world::Worlds;

/// A manager whose queue is full is tried again this often, after this long each time.
const TRIES_MAX: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);
/// How often a change of the groups is looked for, and the control task is asked again after it gave no answer.
const GLANCE: Duration = Duration::from_millis(500);
/// Longest text of `systemctl status`, in characters.
const STATUS_MAX: usize = 240;
/// What a phase of the daemon may take beyond its configured deadline before the manager gives up on it.
const MARGIN: Duration = Duration::from_secs(15);

/// A way to tell the service manager. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ServiceManager {
    manager: Option<Arc<Manager>>,
    watchdog: Option<Duration>,
}

#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl ServiceManager {
    /// The manager that `NOTIFY_SOCKET` names, and the watchdog of `WATCHDOG_USEC` where it is meant for this process.
    /// One that cannot be reached is told to the log and left alone.
    #[must_use]
    pub fn from_env() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        let var = |name| std::env::var(name).ok();
        let watchdog = watchdog(var("WATCHDOG_USEC").as_deref(), var("WATCHDOG_PID").as_deref());
        match Self::to(&name, watchdog) {
            Ok(service_manager) => service_manager,
            Err(error) => {
                tracing::warn!(socket = %name.display(), %error, "the service manager cannot be told anything");
                Self::default()
            }
        }
    }

    /// A manager that listens at `name`: a path, or an abstract name after `@`. It wants a sign of life within every
    /// `watchdog`.
    ///
    /// # Errors
    /// The name is none that a socket can have, or there is no descriptor left.
    pub fn to(name: &OsStr, watchdog: Option<Duration>) -> std::io::Result<Self> {
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { manager: Some(Arc::new(Manager { socket, address })), watchdog })
    }

    /// The start may take this long.
    pub async fn starting(&self, deadline: Duration) {
        self.say(&format!("{}\nSTATUS=waiting for the first complete round of probes", extend(deadline)))
            .await;
    }

    /// Traffic is served.
    pub async fn ready(&self) {
        self.say("READY=1").await;
    }

    /// A reload has begun. [`Self::reloaded`] has to follow, whatever comes of it.
    pub async fn reloading(&self) {
        // The manager compares it with the moment it asked for the reload, on the same clock.
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let usec = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={usec}")).await;
    }

    /// A reload has ended, well or not: traffic is served as before or anew.
    pub async fn reloaded(&self) {
        self.ready().await;
    }

    /// No new work is taken; the rest may take this long.
    pub async fn stopping(&self, deadline: Duration) {
        self.say(&format!("STOPPING=1\n{}\nSTATUS=draining", extend(deadline))).await;
    }

    /// Feeds the watchdog while the control task answers, and says where the groups are whenever that changes. Ends
    /// only where there is nobody to tell.
    pub async fn tend(self, control: Handle, worlds: Worlds) {
        if self.manager.is_none() {
            return;
        }
        tokio::join!(self.feed(&control), self.tell(&control, &worlds));
    }

    async fn feed(&self, control: &Handle) {
        // Half of it, so that one late turn is no alarm.
        let Some(pause) = self.watchdog.map(|whole| whole / 2) else { return };
        let mut was_alive = true;
        loop {
            let is_alive = control.alive().await;
            if is_alive {
                self.say("WATCHDOG=1").await;
            } else if was_alive {
                tracing::error!(
                    "the control task does not answer; the service manager is left without a sign of life"
                );
            }
            was_alive = is_alive;
            tokio::time::sleep(if is_alive { pause } else { GLANCE.min(pause) }).await;
        }
    }

    async fn tell(&self, control: &Handle, worlds: &Worlds) {
        let (mut seen, mut said) = (0, String::new());
        loop {
            let generation = worlds.load().generation;
            if generation != seen
                && let Some(status) = control.status().await
                && status.round_complete
            {
                seen = generation;
                let text = summary(&status);
                if text != said {
                    self.say(&format!("STATUS={text}")).await;
                    said = text;
                }
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    async fn say(&self, message: &str) {
        let Some(manager) = &self.manager else { return };
        for _ in 0..TRIES_MAX {
            match manager.socket.send_to_addr(message.as_bytes(), &manager.address) {
                Ok(_) => return,
                Err(error) if error.kind() == ErrorKind::WouldBlock => tokio::time::sleep(PAUSE).await,
                Err(error) => {
                    tracing::warn!(%error, message, "the service manager could not be told");
                    return;
                }
            }
        }
        tracing::warn!(message, "the service manager does not read what it is told");
    }
}

/// `WATCHDOG_USEC`, where `WATCHDOG_PID` is absent or this process.
fn watchdog(usec: Option<&str>, pid: Option<&str>) -> Option<Duration> {
    let usec: u64 = usec?.parse().ok().filter(|usec| *usec > 0)?;
    let is_ours = pid.is_none_or(|pid| pid.parse() == Ok(std::process::id()));
    is_ours.then(|| Duration::from_micros(usec))
}

/// Asks for this long, and some more, until the next message.
fn extend(deadline: Duration) -> String {
    format!("EXTEND_TIMEOUT_USEC={}", (deadline + MARGIN).as_micros())
}

/// Where every group is, in a line; those that need a person first, for the line may be cut.
fn summary(status: &Status) -> String {
    let mut groups: Vec<_> = status.groups.iter().collect();
    groups.sort_by_key(|group| is_well(group));
    let all = groups.into_iter().map(line).collect::<Vec<_>>().join("; ");
    // A name may hold anything that is no control character; the protocol ends a value at a line's end.
    let clean = |character: char| if character.is_control() { ' ' } else { character };
    if all.chars().count() <= STATUS_MAX {
        return all.chars().map(clean).collect();
    }
    let cut: String = all.chars().take(STATUS_MAX).map(clean).collect();
    format!("{cut}... (more: tidegate status)")
}

fn is_well(group: &GroupStatus) -> bool {
    group.condition == Condition::Ok && group.durable.freeze.is_none() && group.durable.latched.is_empty()
}

fn line(group: &GroupStatus) -> String {
    let mut line = match &group.active {
        Some(site) => format!("{} at {site}: {}", group.name, group.condition.label()),
        None => format!("{} nowhere: {}", group.name, group.condition.label()),
    };
    if group.durable.freeze.is_some() {
        line.push_str(", frozen");
    }
    if !group.durable.latched.is_empty() {
        line.push_str(", latched");
    }
    line
}

#[cfg(test)]
mod tests;
