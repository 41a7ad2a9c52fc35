//! One check of one origin, asked whenever the caller likes: the scheduler in its rhythm, a person once.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::certificate::CertificateProbe;
use crate::command::Slots;
use crate::dns::DnsCheck;
use crate::grpc::GrpcProbe;
use crate::http::HttpProbe;
use crate::note::Note;
use crate::outcome::{Failure, Fault, Outcome, Stage};
use crate::own_fault::OwnFault;
use crate::plugin::CommandProbe;
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
    Tls(Box<CertificateProbe>),
    Grpc(Box<GrpcProbe>),
    Dns(DnsCheck),
    Command(Box<CommandProbe>),
    /// There is nobody to ask.
    Push,
}

/// One result, of whichever origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub started: Instant,
    pub finished: Instant,
    pub outcome: Outcome,
    pub note: Option<Box<Note>>,
}

impl Prober {
    /// A check that has not connected yet. May read the system's trust store, once per `trust`. A program waits for
    /// its turn among those of `slots`.
    #[must_use]
    pub fn new(spec: &ProbeSpec, trust: &Trust, slots: &Slots) -> Self {
        let way = match &spec.target.kind {
            Kind::Http(check) => Way::Http(Box::new(HttpProbe::new(check, trust))),
            Kind::Tcp => Way::Tcp(None),
            Kind::Tls(check) => Way::Tls(Box::new(CertificateProbe::new(check, trust))),
            Kind::Grpc(check) => Way::Grpc(Box::new(GrpcProbe::new(check, trust))),
            Kind::Dns(check) => Way::Dns(check.clone()),
            Kind::Command(check) => Way::Command(Box::new(CommandProbe::new(check, slots.clone()))),
            Kind::Push => Way::Push,
        };
        Self { target: spec.target.clone(), way }
    }

    /// Of a kept connection: the first one is given up after `probes` probes, so that checks which began together do
    /// not all open fresh ones together.
    #[must_use]
    pub(crate) fn staggered(mut self, probes: u32) -> Self {
        if let Way::Http(http) = &mut self.way {
            http.stagger(probes);
        }
        self
    }

    /// Waits until a probe may begin, where that is not for its address to say.
    pub async fn ready(&mut self) {
        if let Way::Command(command) = &mut self.way {
            Box::pin(command.ready()).await;
        }
    }

    /// Asks once, within the timeout of the spec. Whom nobody asks is inconclusive.
    pub async fn probe(&mut self) -> Verdict {
        let Target { addr, ref timing, .. } = *self.target;
        let timeout = timing.timeout;
        let started = Instant::now();
        let mut stage = Stage::Connect;
        let mut note = Note::default();
        let asked = async {
            match &mut self.way {
                Way::Http(http) => http.probe(addr, &mut stage).await,
                Way::Tcp(open) => {
                    *open = Some(tcp::connect(addr).await?);
                    Ok(())
                }
                // Far larger than the others, and every probe would have room for the largest.
                Way::Tls(tls) => Box::pin(tls.probe(addr, &mut stage, &mut note)).await,
                Way::Grpc(grpc) => Box::pin(grpc.probe(addr, &mut stage)).await,
                Way::Dns(dns) => Box::pin(dns.probe(addr, &mut stage)).await,
                Way::Command(command) => Box::pin(command.probe(&mut stage, &mut note)).await,
                Way::Push => Err(Fault::Own(OwnFault::Undecided)),
            }
        };
        let result = timeout_at(started + timeout, asked)
            .await
            .unwrap_or(Err(Fault::Origin(Failure::TimedOut { after: timeout, stage })));
        let finished = Instant::now();
        let late = finished.saturating_duration_since(started) > timeout + grace(timeout);
        let outcome = if late { Outcome::Inconclusive(OwnFault::Starved) } else { result.into() };
        let note = (note != Note::default()).then(|| Box::new(note));
        Verdict { started, finished, outcome, note }
    }

    /// Closes the kept connection: the next probe opens a fresh one.
    pub fn forget(&mut self) {
        match &mut self.way {
            Way::Http(http) => http.forget(),
            Way::Tcp(open) => *open = None,
            Way::Tls(tls) => tls.forget(),
            // They open a connection each time.
            Way::Grpc(_) | Way::Dns(_) | Way::Command(_) | Way::Push => {}
        }
    }

    /// What is left to do once the result is out. Bounded to a tenth of a second.
    pub async fn rest(&mut self) {
        match &mut self.way {
            Way::Tcp(open) => {
                if let Some(stream) = open.take() {
                    Box::pin(tcp::part(stream)).await;
                }
            }
            Way::Tls(tls) => Box::pin(tls.part()).await,
            Way::Grpc(grpc) => Box::pin(grpc.part()).await,
            Way::Http(_) | Way::Dns(_) | Way::Command(_) | Way::Push => {}
        }
    }
}

/// A probe that ends this long after its timeout was not timed by a running clock: we were suspended or starved,
/// and neither its failure nor its pass says when the origin was like that.
pub(crate) fn grace(timeout: Duration) -> Duration {
    (timeout / 2).max(Duration::from_millis(100))
}
