//! From a path to everything the daemon needs of the disk: the configuration, its zone files, its certificates.
//!
//! Reading is all or nothing, and every error names the file it is about.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate_config::{
    Check, Config, Diagnostic, Diagnostics, Parsed, SteerSettings, Tls, Verify, ZoneSettings,
};
use tidegate_dns::{Steered, SteeredAnswer, Zone, ZoneView};
use tidegate_health::id::OriginId;
use tidegate_probe::{CaBundle, HttpCheck, Kind, ProbeSpec, StatusSet, Timing, TlsCheck};

use crate::cli::{FAILED, USAGE};

/// The largest file that is read into memory.
const FILE_MAX: u64 = 256 << 20;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is larger than {} MiB", FILE_MAX >> 20)]
    TooLarge { path: PathBuf },
    #[error("{0}")]
    Config(Box<Diagnostics>),
    #[error("zone `{zone}`: {detail}")]
    Zone { zone: String, detail: String },
    #[error("certificates in {path}: {detail}")]
    Ca { path: PathBuf, detail: String },
    #[error("origin {origin}: {detail}")]
    Origin { origin: String, detail: String },
}

impl LoadError {
    /// A file that cannot be read is a failure of the moment; everything else is a wrong configuration.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Read { .. } => FAILED,
            _ => USAGE,
        }
    }
}

/// A configuration with all that it names.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<Diagnostic>,
    /// The text, for showing the warnings in it.
    pub text: String,
    /// Parallel to `config.zones`.
    pub zones: Vec<Arc<Zone>>,
    pub probes: Vec<ProbeSpec>,
    /// Root certificates by path.
    pub bundles: Bundles,
}

/// The PEM texts of private certificate authorities, by path.
#[derive(Debug)]
pub struct Bundles {
    /// Relative paths start here.
    folder: PathBuf,
    texts: HashMap<PathBuf, Arc<[u8]>>,
}

/// Reads only the configuration.
///
/// # Errors
/// The file cannot be read or used.
pub fn config(path: &Path) -> Result<Config, LoadError> {
    let (_, parsed) = parse(path)?;
    Ok(parsed.config)
}

/// Reads the configuration and every file it names.
///
/// # Errors
/// The first file that cannot be read or used; a configuration's error holds all of its faults.
pub fn load(path: &Path) -> Result<Loaded, LoadError> {
    let (text, Parsed { config, mut warnings }) = parse(path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut zones = Vec::with_capacity(config.zones.len());
    for settings in &config.zones {
        let zone = zone(folder, settings)?;
        warnings.extend(tidegate_config::check_name_servers(&config, &settings.origin, &zone.name_servers()));
        let zone = Arc::new(zone);
        try_steering(&zone, settings)?;
        zones.push(zone);
    }
    let mut bundles = Bundles { folder: folder.to_owned(), texts: HashMap::new() };
    let probes = probes(&config, &mut bundles)?;
    Ok(Loaded { config, warnings, text, zones, probes, bundles })
}

fn parse(path: &Path) -> Result<(String, Parsed), LoadError> {
    let text = read(path)?;
    let parsed = tidegate_config::parse(&path.display().to_string(), &text)
        .map_err(|found| LoadError::Config(Box::new(found)))?;
    Ok((text, parsed))
}

fn read(path: &Path) -> Result<String, LoadError> {
    let failed = |source| LoadError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > FILE_MAX {
        return Err(LoadError::TooLarge { path: path.to_owned() });
    }
    std::fs::read_to_string(path).map_err(failed)
}

fn zone(folder: &Path, settings: &ZoneSettings) -> Result<Zone, LoadError> {
    let path = folder.join(&settings.file);
    let text = read(&path)?;
    Zone::parse(&settings.origin, &text, &path.display().to_string())
        .map_err(|errors| LoadError::Zone { zone: settings.origin.to_string(), detail: errors.to_string() })
}

/// Steered names that collide with the zone's own records are an error now, not at the first switch.
fn try_steering(zone: &Arc<Zone>, settings: &ZoneSettings) -> Result<(), LoadError> {
    let steered: Vec<_> =
        settings.steer.iter().map(|steer| steered(steer, SteeredAnswer::Unavailable)).collect();
    ZoneView::build(zone.clone(), zone.serial(), &steered)
        .map(drop)
        .map_err(|error| LoadError::Zone { zone: settings.origin.to_string(), detail: error.to_string() })
}

/// A steered name with what it answers now.
pub(crate) fn steered(settings: &SteerSettings, answer: SteeredAnswer) -> Steered {
    let ttl = u32::try_from(settings.ttl.as_secs()).unwrap_or(u32::MAX);
    Steered { name: format!("{}.", settings.name), ttl, answer }
}

impl Bundles {
    /// What was read from `path` by [`load`]; nothing for any other path.
    #[must_use]
    pub fn read(&self, path: &Path) -> &[u8] {
        self.texts.get(&self.folder.join(path)).map_or(&[], |pem| pem)
    }

    /// The PEM text at `path`, read once.
    fn pem(&mut self, path: &Path) -> Result<Arc<[u8]>, LoadError> {
        let path = self.folder.join(path);
        if let Some(pem) = self.texts.get(&path) {
            return Ok(pem.clone());
        }
        let pem: Arc<[u8]> = read(&path)?.into_bytes().into();
        CaBundle::from_pem(&pem)
            .map_err(|error| LoadError::Ca { path: path.clone(), detail: error.to_string() })?;
        self.texts.insert(path, pem.clone());
        Ok(pem)
    }
}

fn probes(config: &Config, bundles: &mut Bundles) -> Result<Vec<ProbeSpec>, LoadError> {
    let mut specs = Vec::with_capacity(config.origins.len());
    for id in config.fleet.origin_ids() {
        let failed =
            |detail: String| LoadError::Origin { origin: config.fleet.origin(id).name.to_string(), detail };
        specs.push(probe(config, id, bundles).map_err(|fault| match fault {
            Fault::Load(error) => error,
            Fault::Spec(detail) => failed(detail),
        })?);
    }
    Ok(specs)
}

enum Fault {
    Load(LoadError),
    Spec(String),
}

fn probe(config: &Config, id: OriginId, bundles: &mut Bundles) -> Result<ProbeSpec, Fault> {
    let endpoint = &config.origins[id.index()];
    let thresholds = config.fleet.origin(id).thresholds;
    let spec = |error: tidegate_probe::SpecError| Fault::Spec(error.to_string());
    let kind = match &endpoint.check {
        Check::Tcp => Kind::Tcp,
        Check::Http { path, host, expect_status, expect_body, tls } => {
            let host = host.as_deref().map_or_else(|| endpoint.addr.to_string(), str::to_owned);
            let statuses: StatusSet = expect_status
                .to_string()
                .parse()
                .map_err(|error: tidegate_probe::StatusSetError| Fault::Spec(error.to_string()))?;
            let mut check = HttpCheck::new(path, &host, statuses).map_err(spec)?;
            if let Some(text) = expect_body {
                check = check.with_body(text).map_err(spec)?;
            }
            if let Some(tls) = tls {
                check = check.with_tls(tls_check(tls, endpoint.addr.ip(), bundles)?);
            }
            Kind::Http(check)
        }
    };
    let timing = Timing {
        interval: thresholds.interval,
        fast_interval: thresholds.fast_interval,
        timeout: thresholds.timeout,
    };
    ProbeSpec::new(id, endpoint.addr, kind, timing).map_err(spec)
}

fn tls_check(tls: &Tls, ip: std::net::IpAddr, bundles: &mut Bundles) -> Result<TlsCheck, Fault> {
    let verify = match &tls.verify {
        Verify::System => tidegate_probe::Verify::System,
        Verify::Off => tidegate_probe::Verify::Off,
        Verify::Ca(path) => {
            let pem = bundles.pem(path).map_err(Fault::Load)?;
            let bundle = CaBundle::from_pem(&pem).map_err(|error| Fault::Spec(error.to_string()))?;
            tidegate_probe::Verify::Ca(bundle)
        }
    };
    let name = tls.server_name.as_deref().map_or_else(|| ip.to_string(), str::to_owned);
    TlsCheck::new(&name, verify).map_err(|error| Fault::Spec(error.to_string()))
}
