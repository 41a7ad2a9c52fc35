//! GET over HTTP/1.1, on a connection that is kept for a while, or over HTTP/2, each time on a new one.

use std::net::SocketAddr;

use crate::http1::is_quiet;
use crate::outcome::{Failure, Fault, Stage};
use crate::spec::HttpCheck;
use crate::tls::{Handshake, Trust};
use crate::wire::Wire;
use crate::{FRESH_EVERY, http1, http2, tcp};

/// One HTTP check and the connection it keeps.
pub(crate) struct HttpProbe {
    tls: Option<Box<Handshake>>,
    version: Version,
}

enum Version {
    Http1 {
        exchange: http1::Exchange,
        kept: Option<Wire>,
        /// Probes up to the one that opens a fresh connection whatever is kept.
        turn: u32,
    },
    Http2(Box<http2::Exchange>),
}

impl HttpProbe {
    pub(crate) fn new(check: &HttpCheck, trust: &Trust) -> Self {
        let tls = check.tls.as_ref().map(|tls| Handshake::new(tls, trust));
        if check.http2 {
            let tls = tls.map(Handshake::with_http2).map(Box::new);
            return Self { tls, version: Version::Http2(Box::new(http2::Exchange::new(check))) };
        }
        let version = Version::Http1 { exchange: http1::Exchange::new(check), kept: None, turn: 0 };
        Self { tls: tls.map(Box::new), version }
    }

    /// Opens a fresh connection after this many probes, and then in the usual rhythm.
    pub(crate) fn stagger(&mut self, probes: u32) {
        if let Version::Http1 { turn, .. } = &mut self.version {
            *turn = probes % FRESH_EVERY;
        }
    }

    /// Asks once; `stage` follows how far it came. The deadline is the caller's: dropping the future closes the
    /// connection.
    pub(crate) async fn probe(&mut self, addr: SocketAddr, stage: &mut Stage) -> Result<(), Fault> {
        match &mut self.version {
            Version::Http1 { exchange, kept, turn } => {
                *turn = turn.checked_sub(1).unwrap_or(FRESH_EVERY - 1);
                let wire = ask(exchange, kept.take(), self.tls.as_deref(), addr, stage).await?;
                *kept = wire.filter(|_| *turn > 0);
                Ok(())
            }
            Version::Http2(exchange) => {
                let asked = async {
                    let wire = open(self.tls.as_deref(), addr, stage).await?;
                    exchange.run(wire, stage).await
                };
                // Large, and seldom beside the other kind.
                Box::pin(asked).await
            }
        }
    }

    pub(crate) fn forget(&mut self) {
        if let Version::Http1 { kept, .. } = &mut self.version {
            *kept = None;
        }
    }
}

/// Asks on the kept connection if it still stands, or else on a fresh one. The connection comes back if it may carry
/// another request; every failure closes it.
async fn ask(
    exchange: &http1::Exchange,
    kept: Option<Wire>,
    tls: Option<&Handshake>,
    addr: SocketAddr,
    stage: &mut Stage,
) -> Result<Option<Wire>, Fault> {
    if let Some(mut wire) = kept
        && is_quiet(&mut wire).await
    {
        *stage = Stage::Response;
        match exchange.run(&mut wire, stage).await {
            Ok(stays_open) => return Ok(stays_open.then_some(wire)),
            Err(broken) if broken.silent => {}
            // It closes a connection for having been idle (RFC 9110, 15.5.9).
            Err(http1::Broken { fault: Fault::Origin(Failure::Status { got: 408, .. }), .. }) => {}
            Err(broken) => return Err(broken.fault),
        }
    }
    let mut wire = open(tls, addr, stage).await?;
    let asked = exchange.run(&mut wire, stage).await;
    asked.map(|stays_open| stays_open.then_some(wire)).map_err(|broken| broken.fault)
}

async fn open(tls: Option<&Handshake>, addr: SocketAddr, stage: &mut Stage) -> Result<Wire, Fault> {
    *stage = Stage::Connect;
    let stream = tcp::connect(addr).await?;
    let wire = match tls {
        None => Wire::plain(stream),
        Some(tls) => {
            *stage = Stage::Tls;
            // Far larger than the rest of a probe.
            Wire::tls(Box::pin(tls.perform(stream)).await?)
        }
    };
    *stage = Stage::Response;
    Ok(wire)
}
