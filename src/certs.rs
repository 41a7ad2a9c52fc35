//! The certificates of every TLS listener: read and checked as a whole, chosen by the name the client asks for.
//!
//! One resolver serves HTTPS and DNS over TLS. It looks into the current [`World`](crate::world::World), so a reload
//! is one swap: a handshake sees the old certificates or the new ones, and one set that fails its checks is never
//! published.

mod file;
mod name;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::SignatureAlgorithm;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tidegate_health::time::Wall;

use crate::world::Worlds;
use file::Pair;
use name::Pattern;

/// A certificate that ends sooner than this deserves a warning.
const EXPIRY_WARNING_DAYS: i64 = 14;

/// One certificate as the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSource {
    /// PEM file of the server's own certificate, followed by those that certify it.
    pub cert: PathBuf,
    /// PEM file of its private key: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: PathBuf,
    /// The names it serves, each `www.example.com` or `*.example.com`; empty for the DNS names in the certificate.
    pub names: Vec<String>,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("certificate {path}: {detail}")]
    Unusable { path: PathBuf, detail: String },
}

/// What a person should know of a certificate that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateWarning {
    /// Which of the sources, counted from zero.
    pub source: usize,
    pub message: String,
    /// What to do about it.
    pub help: &'static str,
}

/// Checked certificates, ready for handshakes.
#[derive(Debug, Default)]
pub struct Certificates {
    pairs: Vec<Pair>,
    /// Lower-case names without a trailing dot.
    exact: HashMap<Box<str>, Choice>,
    /// What follows the `*.`; the star stands for one label (RFC 9525, section 6.3).
    wildcard: HashMap<Box<str>, Choice>,
}

/// The certificates of one name, at most one for each kind of key, in order of the sources.
type Choice = Vec<Arc<CertifiedKey>>;

impl Certificates {
    /// Reads and checks every source. The first one is for clients that ask for no name, or for an unknown one.
    ///
    /// # Errors
    /// Everything that makes one of them unusable: then none is used.
    pub fn load(
        sources: &[CertificateSource],
        now: Wall,
    ) -> Result<(Self, Vec<CertificateWarning>), Vec<CertificateError>> {
        let mut loaded = Self::default();
        let (mut warnings, mut errors) = (Vec::new(), Vec::new());
        for (position, source) in sources.iter().enumerate() {
            match file::read(source) {
                Ok((pair, notes)) => {
                    let notes = notes.into_iter().chain(pair.expiry_note(now));
                    warnings.extend(notes.map(|(message, help)| CertificateWarning {
                        source: position,
                        message,
                        help,
                    }));
                    errors.extend(loaded.take(pair).err());
                }
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok((loaded, warnings)) } else { Err(errors) }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// For each certificate the name it is known by, and when it ends, in seconds since 1970. The name is its first
    /// one, or its file where it has none.
    pub fn expiries(&self) -> impl Iterator<Item = (&str, i64)> {
        self.pairs.iter().map(|pair| (&*pair.label, pair.not_after))
    }

    /// Each certificate's file, with what it holds and serves: two that are equal here are the same.
    pub fn files(&self) -> impl Iterator<Item = (&Path, impl fmt::Debug + '_)> {
        self.pairs.iter().map(|pair| (&*pair.path, (&pair.key.cert, &pair.patterns)))
    }

    /// Certificates for a server name (RFC 6066, section 3): its own, else that of its wildcard, else the first.
    fn choice(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let first = || self.pairs.first().map_or(&[][..], |pair| self.siblings(pair));
        name.and_then(|name| self.find(name)).unwrap_or_else(first)
    }

    fn find(&self, name: &str) -> Option<&[Arc<CertifiedKey>]> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let by_wildcard = || self.wildcard.get(name.split_once('.')?.1);
        self.exact.get(name.as_str()).or_else(by_wildcard).map(Vec::as_slice)
    }

    /// A certificate, with the one of the other kind of key for the same name where there is one.
    fn siblings<'a>(&'a self, pair: &'a Pair) -> &'a [Arc<CertifiedKey>] {
        let known = pair.patterns.first().and_then(|pattern| match pattern {
            Pattern::Exact(name) => self.exact.get(name),
            Pattern::Wildcard(parent) => self.wildcard.get(parent),
        });
        known.map_or(std::slice::from_ref(&pair.key), Vec::as_slice)
    }

    fn take(&mut self, pair: Pair) -> Result<(), CertificateError> {
        if pair.patterns.is_empty() && !self.pairs.is_empty() {
            let detail = "has no DNS name, so no client would ever get it; set `names`, or list it first";
            return Err(unusable(&pair.path, detail));
        }
        for pattern in &pair.patterns {
            if let Some(other) = self.rival(pattern, &pair) {
                let detail = format!(
                    "serves `{pattern}`, which {} serves already; set `names` of one of them, or remove one",
                    other.display()
                );
                return Err(unusable(&pair.path, detail));
            }
        }
        for pattern in &pair.patterns {
            let choice = match pattern {
                Pattern::Exact(name) => self.exact.entry(name.clone()).or_default(),
                Pattern::Wildcard(parent) => self.wildcard.entry(parent.clone()).or_default(),
            };
            choice.push(pair.key.clone());
        }
        self.pairs.push(pair);
        Ok(())
    }

    /// The file that already has this name for this kind of key. One RSA certificate beside an ECDSA one is for old
    /// clients.
    fn rival(&self, pattern: &Pattern, pair: &Pair) -> Option<&Path> {
        let kind = pair.key.key.algorithm();
        let same = |other: &&Pair| other.key.key.algorithm() == kind && other.patterns.contains(pattern);
        self.pairs.iter().find(same).map(|other| &*other.path)
    }
}

/// Chooses from the certificates of the current World.
pub struct Resolver(Worlds);

impl Resolver {
    #[must_use]
    pub fn new(worlds: Worlds) -> Arc<Self> {
        Arc::new(Self(worlds))
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let world = self.0.load();
        let choice = world.settings.certificates.choice(hello.server_name());
        let can_verify =
            |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        // A client that can verify both gets the smaller and faster one.
        let is_rsa = |key: &&Arc<CertifiedKey>| key.key.algorithm() == SignatureAlgorithm::RSA;
        choice.iter().filter(can_verify).min_by_key(is_rsa).or_else(|| choice.first()).cloned()
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

fn unusable(path: &Path, detail: impl Into<String>) -> CertificateError {
    CertificateError::Unusable { path: path.to_owned(), detail: detail.into() }
}
