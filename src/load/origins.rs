//! How each origin is probed and reached, with the certificates that takes.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use tidegate_config::{
    Check, ClientCertificate, Config, Ejection, OriginEndpoint, OriginHttp, Scheme, Tls, Verify,
};
use tidegate_health::fleet::Thresholds;
use tidegate_health::id::{Name, OriginId, ServiceId, SiteId};
use tidegate_probe::{CaBundle, HttpCheck, Identity, Kind, ProbeSpec, StatusSet, Timing, TlsCheck};
use tidegate_proxy::{EjectionPolicy, Target, TlsTarget};

use super::{LoadError, checks, read};

/// Probes and targets of all origins, parallel to the fleet's.
pub(super) type Origins = (Vec<ProbeSpec>, Vec<Arc<Target>>);

/// Probes and targets of all origins; what cannot be used is added to `errors`, and then the result is not whole.
pub(super) fn load(config: &Config, bundles: &mut Bundles, errors: &mut Vec<LoadError>) -> Origins {
    let mut loaded = (Vec::with_capacity(config.origins.len()), Vec::with_capacity(config.origins.len()));
    for (id, endpoint) in config.fleet.origin_ids().zip(&config.origins) {
        let origin = config.fleet.origin(id);
        let origin = Subject {
            id,
            name: &origin.name,
            service: origin.service,
            site: origin.site,
            host: origin.host.as_deref(),
            thresholds: origin.thresholds,
            endpoint,
        };
        match origin.load(config, bundles) {
            Ok((probe, target)) => {
                loaded.0.push(probe);
                loaded.1.push(target);
            }
            Err(fault) => errors.extend(fault.about(origin.name)),
        }
    }
    loaded
}

/// Holds what names will stand for to the same test before they are resolved, and reads the files that this will take.
/// Nothing is read when they are.
pub(super) fn rehearse(config: &Config, bundles: &mut Bundles, errors: &mut Vec<LoadError>) {
    for named in &config.named {
        let endpoint = named.at(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let (service, site) = (config.fleet.service(named.service), config.fleet.site(named.site));
        let name: Name = format!("{}/{}/{}:{}", service.name, site.name, named.name, named.port()).into();
        let origin = Subject {
            id: OriginId(0),
            name: &name,
            service: named.service,
            site: named.site,
            host: named.host.as_deref(),
            thresholds: named.thresholds,
            endpoint: &endpoint,
        };
        if let Err(fault) = origin.load(config, bundles) {
            errors.extend(fault.about(&name));
        }
    }
}

/// One origin, or what may become one.
struct Subject<'a> {
    id: OriginId,
    name: &'a Name,
    service: ServiceId,
    site: SiteId,
    host: Option<&'a str>,
    thresholds: Thresholds,
    endpoint: &'a OriginEndpoint,
}

impl Subject<'_> {
    fn load(&self, config: &Config, bundles: &mut Bundles) -> Result<(ProbeSpec, Arc<Target>), Fault> {
        Ok((self.probe(config, bundles)?, self.target(config, bundles)?))
    }

    fn probe(&self, config: &Config, bundles: &mut Bundles) -> Result<ProbeSpec, Fault> {
        let Self { id, endpoint, thresholds, .. } = *self;
        let other = checks::kind(&endpoint.check, &self.place(config), bundles)?;
        let kind = match (&endpoint.check, other) {
            (_, Some(kind)) => kind,
            (Check::Http { path, host, expect_status, expect_body, tls }, None) => {
                let host = host.as_deref().map_or_else(|| endpoint.addr.to_string(), str::to_owned);
                let statuses = StatusSet::new(expect_status.ranges()).map_err(Fault::origin)?;
                let mut check = HttpCheck::new(path, &host, statuses).map_err(Fault::origin)?;
                if let Some(text) = expect_body {
                    check = check.with_body(text).map_err(Fault::origin)?;
                }
                if config.services[self.service.index()].origin_http == OriginHttp::Http2 {
                    check = check.with_http2();
                }
                if let Some(tls) = tls {
                    check = check.with_tls(tls_check(tls, endpoint.addr.ip(), bundles)?);
                }
                Kind::Http(check)
            }
            // Only HTTP is left to this place.
            (_, None) => Kind::Tcp,
        };
        let timing = Timing {
            interval: thresholds.interval,
            fast_interval: thresholds.fast_interval,
            timeout: thresholds.timeout,
        };
        ProbeSpec::new(id, endpoint.addr, kind, timing).map_err(Fault::origin)
    }

    fn place<'b>(&'b self, config: &'b Config) -> checks::Place<'b> {
        let (fleet, service) = (&config.fleet, config.fleet.service(self.service));
        checks::Place {
            service: &service.name,
            site: &fleet.site(self.site).name,
            group: &fleet.group(service.group).name,
            origin: self.name,
            host: self.host,
            addr: self.endpoint.addr,
        }
    }

    fn target(&self, config: &Config, bundles: &mut Bundles) -> Result<Arc<Target>, Fault> {
        let endpoint = self.endpoint;
        let tls = match &endpoint.scheme {
            Scheme::Https(tls) => Some(tls_target(tls, bundles)?),
            Scheme::Http | Scheme::Tcp => None,
        };
        let service = &config.services[self.service.index()];
        let make = match service.origin_http {
            OriginHttp::Http1 => Target::new,
            OriginHttp::Http2 => Target::new_http2,
        };
        make(self.name.clone(), endpoint.addr, tls, ejection(service.ejection)).map_err(Fault::origin)
    }
}

pub(super) enum Fault {
    /// An origin before this one has told the same.
    Said,
    Load(LoadError),
    Origin(String),
}

impl Fault {
    pub(super) fn origin(error: impl std::fmt::Display) -> Self {
        Self::Origin(error.to_string())
    }

    fn about(self, origin: &Name) -> Option<LoadError> {
        match self {
            Self::Said => None,
            Self::Load(error) => Some(error),
            Self::Origin(detail) => Some(LoadError::Origin { origin: origin.to_string(), detail }),
        }
    }
}

/// Private certificate authorities and client certificates by path, each read once. None: it was no use, and that has
/// been said.
#[derive(Clone, Debug)]
pub(super) struct Bundles {
    /// Relative paths start here.
    folder: PathBuf,
    read: HashMap<PathBuf, Option<Bundle>>,
    identities: HashMap<(PathBuf, PathBuf), Option<Arc<CertifiedKey>>>,
}

/// One file of root certificates, as probes and as the proxy take it.
#[derive(Clone, Debug)]
struct Bundle {
    probe: CaBundle,
    proxy: Arc<[CertificateDer<'static>]>,
}

impl Bundles {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), read: HashMap::new(), identities: HashMap::new() }
    }

    fn get(&mut self, path: &Path) -> Result<Bundle, Fault> {
        let path = self.folder.join(path);
        if let Some(known) = self.read.get(&path) {
            return known.clone().ok_or(Fault::Said);
        }
        let bundle = bundle(&path);
        self.read.insert(path, bundle.as_ref().ok().cloned());
        bundle.map_err(Fault::Load)
    }

    fn identity(&mut self, files: &ClientCertificate) -> Result<Arc<CertifiedKey>, Fault> {
        let (cert, key) = (self.folder.join(&files.cert), self.folder.join(&files.key));
        if let Some(known) = self.identities.get(&(cert.clone(), key.clone())) {
            return known.clone().ok_or(Fault::Said);
        }
        let identity = identity(&cert, &key);
        self.identities.insert((cert, key), identity.as_ref().ok().cloned());
        identity.map_err(Fault::Load)
    }
}

/// A client certificate with its key, which must belong together.
fn identity(cert: &Path, key: &Path) -> Result<Arc<CertifiedKey>, LoadError> {
    let failed = |path: &Path, detail: String| LoadError::ClientCertificate { path: path.to_owned(), detail };
    let (chain, secret) = (read(cert)?, read(key)?);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
    let chain = chain.map_err(|error| failed(cert, error.to_string()))?;
    if chain.is_empty() {
        return Err(failed(cert, "no certificate in PEM form".to_owned()));
    }
    let secret =
        PrivateKeyDer::from_pem_slice(secret.as_bytes()).map_err(|error| failed(key, error.to_string()))?;
    CertifiedKey::from_der(chain, secret, &ring::default_provider())
        .map(Arc::new)
        .map_err(|error| failed(cert, format!("does not work with the key {}: {error}", key.display())))
}

fn bundle(path: &Path) -> Result<Bundle, LoadError> {
    let pem = read(path)?;
    let failed = |detail: String| LoadError::Ca { path: path.to_owned(), detail };
    let probe = CaBundle::from_pem(pem.as_bytes()).map_err(|error| failed(error.to_string()))?;
    let proxy: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    Ok(Bundle { probe, proxy: proxy.map_err(|error| failed(error.to_string()))?.into() })
}

pub(super) fn tls_check(tls: &Tls, ip: IpAddr, bundles: &mut Bundles) -> Result<TlsCheck, Fault> {
    let verify = match &tls.verify {
        Verify::System => tidegate_probe::Verify::System,
        Verify::Off => tidegate_probe::Verify::Off,
        Verify::Ca(path) => tidegate_probe::Verify::Ca(bundles.get(path)?.probe),
    };
    let name = tls.server_name.as_deref().map_or_else(|| ip.to_string(), str::to_owned);
    let check = TlsCheck::new(&name, verify).map_err(Fault::origin)?;
    Ok(match &tls.client_certificate {
        Some(files) => check.with_identity(Identity::new(bundles.identity(files)?)),
        None => check,
    })
}

fn tls_target(tls: &Tls, bundles: &mut Bundles) -> Result<TlsTarget, Fault> {
    let verify = match &tls.verify {
        Verify::System => tidegate_proxy::Verify::System,
        Verify::Off => tidegate_proxy::Verify::Off,
        Verify::Ca(path) => tidegate_proxy::Verify::Ca(bundles.get(path)?.proxy),
    };
    let identity = tls.client_certificate.as_ref().map(|files| bundles.identity(files)).transpose()?;
    Ok(TlsTarget { sni: tls.server_name.clone(), verify, identity })
}

fn ejection(configured: Ejection) -> EjectionPolicy {
    EjectionPolicy {
        transport_max: configured.failures,
        status_max: configured.status_failures,
        base: configured.base,
        max: configured.max,
        share_percent: u32::from(configured.share_percent_max),
    }
}
