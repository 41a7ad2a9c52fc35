//! From a path to everything the daemon needs of the disk: the configuration, its zone files, its certificates.
//!
//! Reading is all or nothing, and every error names the file it is about.

mod certificates;
mod checks;
mod notify;
mod origins;
mod watches;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate_config::{
    Addresses, Concern, Config, Diagnostic, Diagnostics, Parsed, SteerSettings, ZoneSettings,
};
use tidegate_dns::{Steered, SteeredAnswer, Zone, ZoneView};
use tidegate_probe::ProbeSpec;
use tidegate_proxy::Target;

use crate::access_log;
use crate::certs::{CertificateError, Certificates};
use crate::cli::{FAILED, USAGE};
use crate::watchers::Watch;
pub use notify::Outbound;

/// The largest file that is read into memory.
const FILE_MAX: u64 = 256 << 20;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is larger than {} MiB", FILE_MAX >> 20)]
    TooLarge { path: PathBuf },
    #[error("{path} is no regular file")]
    NoFile { path: PathBuf },
    #[error("{0}")]
    Config(Box<Diagnostics>),
    #[error("zone `{zone}`: {detail}")]
    Zone { zone: String, detail: String },
    #[error("certificates in {path}: {detail}")]
    Ca { path: PathBuf, detail: String },
    #[error("client certificate {path}: {detail}")]
    ClientCertificate { path: PathBuf, detail: String },
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("the access log {path} {detail}")]
    AccessLog { path: PathBuf, detail: String },
    #[error(transparent)]
    AccessLogFile(#[from] access_log::AccessLogError),
    #[error("{table}: {detail}")]
    Outbound { table: String, detail: String },
    #[error("origin {origin}: {detail}")]
    Origin { origin: String, detail: String },
    #[error("{what}: {detail}")]
    Watch { what: String, detail: String },
    #[error("{}", lines(.0))]
    Several(Vec<Self>),
}

impl LoadError {
    /// A file that cannot be read is a failure of the moment; everything else is a wrong configuration.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Read { .. } | Self::Certificate(CertificateError::Read { .. }) => FAILED,
            _ => USAGE,
        }
    }
}

fn lines(errors: &[LoadError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A configuration with all that it names.
#[derive(Debug)]
pub struct Loaded {
    /// Origins that are given by name are none until [`resolve`](Self::resolve) says which.
    pub config: Config,
    pub warnings: Vec<Diagnostic>,
    /// The text, for showing the warnings in it.
    pub text: String,
    /// Parallel to `config.zones`.
    pub zones: Vec<Arc<Zone>>,
    /// Parallel to the fleet's origins, as are the targets.
    pub probes: Vec<ProbeSpec>,
    pub targets: Vec<Arc<Target>>,
    /// Gates, witnesses and published addresses.
    pub watches: Vec<Watch>,
    pub certificates: Arc<Certificates>,
    pub outbound: Outbound,
    pub origin_files: OriginFiles,
}

/// The files that checks of origins and connections to them take, read once: what has become of them meanwhile does not
/// stand in the way of a name that has another address now.
#[derive(Clone, Debug)]
pub struct OriginFiles(origins::Bundles);

impl Loaded {
    /// Takes these addresses for what names stand for; nothing is read.
    ///
    /// # Errors
    /// An origin cannot be checked or reached with what is configured, which loading would have found.
    pub fn resolve(&mut self, addresses: &Addresses) -> Result<Vec<Concern>, LoadError> {
        let (config, concerns) = self.config.resolve(addresses);
        (self.probes, self.targets) = self.origin_files.origins(&config)?;
        self.config = config;
        Ok(concerns)
    }
}

impl OriginFiles {
    /// How each origin of `config`, with which they were read, is probed and reached.
    ///
    /// # Errors
    /// As [`Loaded::resolve`].
    pub fn origins(&mut self, config: &Config) -> Result<(Vec<ProbeSpec>, Vec<Arc<Target>>), LoadError> {
        let mut errors = Vec::new();
        let loaded = origins::load(config, &mut self.0, &mut errors);
        one(errors).map(|()| loaded)
    }
}

fn one(mut errors: Vec<LoadError>) -> Result<(), LoadError> {
    match errors.len() {
        0 => Ok(()),
        1 => Err(errors.remove(0)),
        _ => Err(LoadError::Several(errors)),
    }
}

/// Reads only the configuration.
///
/// # Errors
/// The file cannot be read or used.
pub fn config(path: &Path) -> Result<Config, LoadError> {
    let (_, parsed) = parse(path)?;
    Ok(parsed.config)
}

/// The control socket of the daemon that runs on the configuration at `path`. A configuration that is being edited and
/// not sound at present takes nobody's hands off the daemon: then only the two keys that matter here are read.
///
/// # Errors
/// The file cannot be read, or says nothing of either key.
pub fn control_socket(path: &Path) -> Result<PathBuf, LoadError> {
    let error = match config(path) {
        Ok(config) => return Ok(config.listen.socket),
        Err(error) => error,
    };
    let Ok(table) = read_any(path)?.parse::<toml::Table>() else { return Err(error) };
    let text = |value: Option<&toml::Value>| value.and_then(toml::Value::as_str).map(PathBuf::from);
    let socket = text(table.get("listen").and_then(|listen| listen.get("socket")));
    let in_state_dir =
        || text(table.get("state_dir")).map(|folder| folder.join(tidegate_config::SOCKET_NAME));
    socket.or_else(in_state_dir).map(|socket| folder_of(path).join(socket)).ok_or(error)
}

/// Reads the configuration and every file it names.
///
/// # Errors
/// Everything that cannot be read or used. A configuration that cannot be used is not followed to its files.
pub fn load(path: &Path) -> Result<Loaded, LoadError> {
    let (text, Parsed { config, mut warnings }) = parse(path)?;
    let mut zones = Vec::with_capacity(config.zones.len());
    let mut errors = Vec::new();
    for settings in &config.zones {
        match zone(folder_of(path), settings) {
            Ok(zone) => {
                let servers = zone.name_servers();
                warnings.extend(tidegate_config::check_name_servers(&config, &settings.origin, &servers));
                zones.push(zone);
            }
            Err(error) => errors.push(error),
        }
    }
    let mut bundles = origins::Bundles::new(folder_of(path));
    let (probes, targets) = origins::load(&config, &mut bundles, &mut errors);
    origins::rehearse(&config, &mut bundles, &mut errors);
    warnings.extend(checks::look_for(&config.programs));
    let watches = watches::load(&config, &mut errors);
    let certificates = certificates::load(&config, folder_of(path), &mut warnings, &mut errors);
    let outbound = notify::load(&config, folder_of(path), &mut errors);
    if let Some(path) = &config.access_log
        && let Err(detail) = access_log::check(path)
    {
        errors.push(LoadError::AccessLog { path: path.clone(), detail });
    }
    one(errors)?;
    let origin_files = OriginFiles(bundles);
    Ok(Loaded {
        config,
        warnings,
        text,
        zones,
        probes,
        targets,
        watches,
        certificates,
        outbound,
        origin_files,
    })
}

fn parse(path: &Path) -> Result<(String, Parsed), LoadError> {
    let text = read_any(path)?;
    let mut parsed = tidegate_config::parse(&path.display().to_string(), &text)
        .map_err(|found| LoadError::Config(Box::new(found)))?;
    // Relative paths mean the same wherever a command is started.
    let folder = folder_of(path);
    parsed.config.state_dir = folder.join(&parsed.config.state_dir);
    parsed.config.listen.socket = folder.join(&parsed.config.listen.socket);
    parsed.config.access_log = parsed.config.access_log.map(|path| folder.join(path));
    Ok((text, parsed))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// A file that the configuration names. A pipe could keep a reload waiting for ever, a device could fill the memory.
fn read(path: &Path) -> Result<String, LoadError> {
    let failed = |source| LoadError::Read { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(LoadError::NoFile { path: path.to_owned() });
    }
    read_any(path)
}

/// The configuration itself may come from a pipe.
fn read_any(path: &Path) -> Result<String, LoadError> {
    let failed = |source| LoadError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_MAX {
        return Err(LoadError::TooLarge { path: path.to_owned() });
    }
    Ok(text)
}

fn zone(folder: &Path, settings: &ZoneSettings) -> Result<Arc<Zone>, LoadError> {
    let path = folder.join(&settings.file);
    let text = read(&path)?;
    let failed = |detail: String| LoadError::Zone { zone: settings.origin.to_string(), detail };
    let zone = Zone::parse(&settings.origin, &text, &path.display().to_string());
    let zone = Arc::new(zone.map_err(|errors| failed(errors.to_string()))?);
    // Steered names that collide with the zone's own records are an error now, not at the first switch.
    let steered: Vec<_> =
        settings.steer.iter().map(|steer| steered(steer, SteeredAnswer::Unavailable)).collect();
    ZoneView::build(zone.clone(), zone.serial(), &steered).map_err(|error| failed(error.to_string()))?;
    Ok(zone)
}

/// A steered name with what it answers now.
pub(crate) fn steered(settings: &SteerSettings, answer: SteeredAnswer) -> Steered {
    let ttl = u32::try_from(settings.ttl.as_secs()).unwrap_or(u32::MAX);
    Steered { name: format!("{}.", settings.name), ttl, answer }
}
