//! One check of one origin, asked whenever the caller likes: the scheduler in its rhythm, a person once.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::http::HttpProbe;
use crate::outcome::{Failure, Fault, Outcome, OwnFault, Stage};
use crate::spec::{Kind, ProbeSpec, Target};
use crate::tcp;
use crate::tls::Trust;

/// A check with the connection it keeps between two probes.
pub struct Prober {
    target: Arc<Target>,
    way: Way,
}

enum Way {
    Http(Box<HttpProbe>),
    /// With the connection of the last probe, until it is closed in peace.
    Tcp(Option<TcpStream>),
}

/// One result, of whichever origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub started: Instant,
    pub finished: Instant,
    pub outcome: Outcome,
}

impl Prober {
    /// A check that has not connected yet. May read the system's trust store, once per `trust`.
    #[must_use]
    pub fn new(spec: &ProbeSpec, trust: &Trust) -> Self {
        let way = match &spec.target.kind {
            Kind::Http(check) => Way::Http(Box::new(HttpProbe::new(check, trust))),
            Kind::Tcp => Way::Tcp(None),
        };
        Self { target: spec.target.clone(), way }
    }

    /// Asks once, within the timeout of the spec.
    pub async fn probe(&mut self) -> Verdict {
        let Target { addr, ref timing, .. } = *self.target;
        let timeout = timing.timeout;
        let started = Instant::now();
        let mut stage = Stage::Connect;
        let asked = async {
            match &mut self.way {
                Way::Http(http) => http.probe(addr, &mut stage).await,
                Way::Tcp(open) => {
                    *open = Some(tcp::connect(addr).await?);
                    Ok(())
                }
            }
        };
        let result = timeout_at(started + timeout, asked)
            .await
            .unwrap_or(Err(Fault::Origin(Failure::TimedOut { after: timeout, stage })));
        let finished = Instant::now();
        let late = finished.saturating_duration_since(started) > timeout + grace(timeout);
        let outcome = if late { Outcome::Inconclusive(OwnFault::Starved) } else { result.into() };
        Verdict { started, finished, outcome }
    }

    /// Closes the kept connection: the next probe opens a fresh one.
    pub fn forget(&mut self) {
        match &mut self.way {
            Way::Http(http) => http.forget(),
            Way::Tcp(open) => *open = None,
        }
    }

    /// What is left to do once the result is out. Bounded to a tenth of a second.
    pub async fn rest(&mut self) {
        if let Way::Tcp(open) = &mut self.way
            && let Some(stream) = open.take()
        {
            tcp::part(stream).await;
        }
    }
}

/// A probe that ends this long after its timeout was not timed by a running clock: we were suspended or starved,
/// and neither its failure nor its pass says when the origin was like that.
fn grace(timeout: Duration) -> Duration {
    (timeout / 2).max(Duration::from_millis(100))
}
