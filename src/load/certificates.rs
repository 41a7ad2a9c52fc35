//! The certificates that a configuration names.

use std::path::Path;
use std::sync::Arc;

use tidegate_config::{Certificate, Config, Diagnostic, HostPattern};

use super::LoadError;
use crate::certs::{CertificateSource, Certificates};
use crate::clock::wall;

/// Certificates ready for use; what cannot be used is added to `errors`, and then the result is empty.
pub(super) fn load(
    config: &Config,
    folder: &Path,
    warnings: &mut Vec<Diagnostic>,
    errors: &mut Vec<LoadError>,
) -> Arc<Certificates> {
    let sources: Vec<_> = config.certificates.iter().map(|certificate| source(certificate, folder)).collect();
    match Certificates::load(&sources, wall()) {
        Ok((certificates, found)) => {
            warnings.extend(found.iter().map(|warning| {
                let declared = &config.certificates[warning.source].declared;
                Diagnostic::warning(declared, &warning.message, warning.help)
            }));
            Arc::new(certificates)
        }
        Err(found) => {
            errors.extend(found.into_iter().map(LoadError::from));
            Arc::default()
        }
    }
}

fn source(certificate: &Certificate, folder: &Path) -> CertificateSource {
    let names = certificate.names.iter().map(|name| match name {
        HostPattern::Exact(name) => name.to_string(),
        HostPattern::Wildcard(parent) => format!("*.{parent}"),
    });
    CertificateSource {
        cert: folder.join(&certificate.cert),
        key: folder.join(&certificate.key),
        names: names.collect(),
    }
}
