//! One certificate with its key, from two PEM files to a pair that is known to fit.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use tidegate_health::time::Wall;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::name::Pattern;
use super::{CertificateError, CertificateSource, EXPIRY_WARNING_DAYS, unusable};

/// Certificates have some kilobytes; nothing larger is read into memory.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Certificates in one file; every one is sent with each handshake.
const CHAIN_MAX: usize = 16;
/// Anybody beside the owner and the group.
const OTHERS: u32 = 0o007;
const DAY_SECONDS: i64 = 86_400;

/// A warning and what to do about it.
pub(super) type Note = (String, &'static str);

/// A certificate that fits its key.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) path: PathBuf,
    pub(super) key: Arc<CertifiedKey>,
    /// None twice.
    pub(super) patterns: Vec<Pattern>,
    /// What metrics call it.
    pub(super) label: Box<str>,
    /// Seconds since 1970.
    not_before: i64,
    pub(super) not_after: i64,
}

impl Pair {
    /// A certificate that clients will refuse, now or soon.
    pub(super) fn expiry_note(&self, now: Wall) -> Option<Note> {
        let now = i64::try_from(now.0 / 1000).unwrap_or(i64::MAX);
        let path = self.path.display();
        let left = self.not_after.saturating_sub(now);
        let help = "clients refuse it then: renew it and reload";
        if self.not_before > now {
            Some((format!("{path} is not valid yet"), "clients refuse it until then; check the clock, too"))
        } else if left < 0 {
            Some((format!("{path} has expired"), "clients refuse it: renew it and reload"))
        } else if left < EXPIRY_WARNING_DAYS * DAY_SECONDS {
            Some((format!("{path} expires in {} days", left / DAY_SECONDS), help))
        } else {
            None
        }
    }
}

/// Reads one pair and checks all that can be known of it without a client.
pub(super) fn read(source: &CertificateSource) -> Result<(Pair, Vec<Note>), CertificateError> {
    let mut notes = Vec::new();
    let chain = chain(&source.cert)?;
    let key = key(&source.key, &mut notes)?;
    let leaf = parse(&source.cert, 0, &chain[0])?;
    order_note(&source.cert, &chain, &mut notes)?;

    let (not_before, not_after) =
        (leaf.validity().not_before.timestamp(), leaf.validity().not_after.timestamp());
    let own = own_names(&leaf);
    let patterns = patterns(source, own, &mut notes)?;
    let label = patterns.first().map_or_else(|| source.cert.display().to_string(), ToString::to_string);
    drop(leaf);
    let pair = Pair {
        path: source.cert.clone(),
        key: fit(source, chain, &key)?,
        patterns,
        label: label.into(),
        not_before,
        not_after,
    };
    Ok((pair, notes))
}

fn bytes(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let failed = |source| CertificateError::Read { path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    // A pipe could keep a reload waiting for ever, a device could fill the memory.
    if !metadata.is_file() {
        return Err(unusable(path, "is no regular file"));
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(unusable(path, format!("is larger than {} KiB", FILE_BYTES_MAX >> 10)));
    }
    std::fs::read(path).map_err(failed)
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(&bytes(path)?).take(CHAIN_MAX + 1).collect();
    let chain = chain.map_err(|error| unusable(path, format!("is not PEM: {error}")))?;
    match chain.len() {
        0 => Err(unusable(path, "has no `BEGIN CERTIFICATE` in it; give the PEM file of the certificate")),
        1..=CHAIN_MAX => Ok(chain),
        _ => Err(unusable(path, format!("has more than {CHAIN_MAX} certificates"))),
    }
}

fn key(path: &Path, notes: &mut Vec<Note>) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let pem = bytes(path)?;
    let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & OTHERS != 0 {
        let message = format!("everybody on this machine may use the private key {}", path.display());
        notes.push((message, "take the access away: `chmod o= FILE`"));
    }
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        let detail =
            "has no private key that can be read; give it as PEM in PKCS#8, PKCS#1 or SEC1, not encrypted";
        unusable(path, detail)
    })
}

fn parse<'a>(path: &Path, position: usize, der: &'a [u8]) -> Result<X509Certificate<'a>, CertificateError> {
    match X509Certificate::from_der(der) {
        Ok((_, certificate)) => Ok(certificate),
        Err(error) => Err(unusable(path, format!("its certificate {} is broken: {error}", position + 1))),
    }
}

/// Clients need not sort what they are sent (RFC 5246, section 7.4.2), so many refuse a chain in the wrong order.
fn order_note(
    path: &Path,
    chain: &[CertificateDer<'_>],
    notes: &mut Vec<Note>,
) -> Result<(), CertificateError> {
    let chain: Result<Vec<_>, _> =
        chain.iter().enumerate().map(|(position, der)| parse(path, position, der)).collect();
    let breaks = |pair: &[X509Certificate<'_>]| pair[0].issuer().as_raw() != pair[1].subject().as_raw();
    if let Some(position) = chain?.windows(2).position(breaks) {
        let (first, second) = (position + 1, position + 2);
        let message = format!("certificate {second} of {} does not certify number {first}", path.display());
        notes.push((
            message,
            "some clients will refuse it: put each certificate before the one that certifies it",
        ));
    }
    Ok(())
}

/// The DNS names of the subject's alternatives; a common name is no name any more (RFC 9525, section 2).
fn own_names(leaf: &X509Certificate<'_>) -> Vec<Pattern> {
    let Ok(Some(alternatives)) = leaf.subject_alternative_name() else { return Vec::new() };
    let names = alternatives.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Pattern::parse(name),
        _ => None,
    });
    once(names)
}

/// The configured names, or else the certificate's own.
fn patterns(
    source: &CertificateSource,
    own: Vec<Pattern>,
    notes: &mut Vec<Note>,
) -> Result<Vec<Pattern>, CertificateError> {
    if source.names.is_empty() {
        return Ok(own);
    }
    let configured: Result<Vec<_>, _> = source
        .names
        .iter()
        .map(|name| {
            let wrong = || unusable(&source.cert, format!("`{name}` is not a name, nor a name after `*.`"));
            Pattern::parse(name).ok_or_else(wrong)
        })
        .collect();
    let configured = once(configured?.into_iter());
    for name in configured.iter().filter(|name| !own.iter().any(|other| name.is_covered_by(other))) {
        let message = format!("{} is to serve `{name}`, but is not made out to it", source.cert.display());
        notes.push((
            message,
            "clients that verify will refuse it: remove the name or get another certificate",
        ));
    }
    Ok(configured)
}

fn once(names: impl Iterator<Item = Pattern>) -> Vec<Pattern> {
    let mut known = Vec::new();
    for name in names {
        if !known.contains(&name) {
            known.push(name);
        }
    }
    known
}

fn fit(
    source: &CertificateSource,
    chain: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'_>,
) -> Result<Arc<CertifiedKey>, CertificateError> {
    let signer = any_supported_type(key).map_err(|_| {
        unusable(
            &source.key,
            "is a key of a kind that cannot be used; take ECDSA P-256 or P-384, Ed25519, or RSA",
        )
    })?;
    let certified = CertifiedKey::new(chain, signer);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok(Arc::new(certified))
        }
        Err(error) if !matches!(error, rustls::Error::InconsistentKeys(_)) => {
            Err(unusable(&source.cert, format!("cannot be used: {error}")))
        }
        Err(_) => {
            let key = source.key.display();
            let detail = if fits_another(&certified) {
                format!(
                    "its first certificate is not the one of the key {key}, but a later one is: put that first"
                )
            } else {
                format!("does not belong to the key {key}; give the two that were made together")
            };
            Err(unusable(&source.cert, detail))
        }
    }
}

/// Whether the key is that of a later certificate: the file is in the wrong order.
fn fits_another(certified: &CertifiedKey) -> bool {
    let later = certified.cert.iter().skip(1);
    later.cloned().any(|own| CertifiedKey::new(vec![own], certified.key.clone()).keys_match().is_ok())
}
