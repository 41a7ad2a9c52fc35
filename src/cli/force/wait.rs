//! `drain --wait`: the scripts of those who switch machines off ask once, and get an answer that they can act on.

use std::time::{Duration, Instant};

use tidegate_health::force::{ForceKind, ForceStatus, Selector};

use super::super::client::{Client, ClientError};
use super::super::{DONE, FAILED, SocketArg, complain, render, show};
use crate::admin::shape::StatusReply;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// How a drain stands.
enum Standing {
    Safe(Box<ForceStatus>),
    NotYet(Box<ForceStatus>),
    /// Somebody has lifted it.
    Gone,
}

/// Waits until nothing is open any more to what the selector means, which is drained; the exit code.
pub(super) fn until_safe(socket: &SocketArg, selector: &Selector, wait: Duration) -> u8 {
    let begun = Instant::now();
    loop {
        let last = match look(socket, selector) {
            Ok(Standing::Safe(drain)) => return told(socket, &drain, DONE),
            Ok(Standing::NotYet(drain)) => drain,
            Ok(Standing::Gone) => return complain(&format!("the drain of {selector} was lifted meanwhile")),
            Err(error) => {
                complain(&error.to_string());
                return error.exit_code();
            }
        };
        if begun.elapsed() >= wait {
            return told(socket, &last, FAILED);
        }
        std::thread::sleep(PAUSE.min(wait));
    }
}

fn look(socket: &SocketArg, selector: &Selector) -> Result<Standing, ClientError> {
    let client = Client::find(socket)?;
    let status: StatusReply = client.read("/api/v1/status")?;
    let is_it = |it: &ForceStatus| it.force.selector == *selector && it.force.kind == ForceKind::Drain;
    let drain = status.status.forces.into_iter().find(is_it).map(Box::new);
    Ok(match drain {
        Some(drain) if drain.safe => Standing::Safe(drain),
        Some(drain) => Standing::NotYet(drain),
        None => Standing::Gone,
    })
}

fn told(socket: &SocketArg, drain: &ForceStatus, code: u8) -> u8 {
    let text = if socket.json {
        serde_json::to_string_pretty(drain).unwrap_or_default()
    } else {
        render::force(drain, crate::clock::wall())
    };
    show(&text);
    code
}
