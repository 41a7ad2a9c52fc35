//! Whom to tell what happens, with the secrets that takes.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use http::Method;
use tidegate_config::{Config, Heartbeat, HeartbeatMethod, Receiver, Smtp, UrlSource, WebUrl, Webhook};

use super::{LoadError, read};
use crate::heartbeat;
use crate::notify::{Mail, Setup, Way};
use crate::outbound::{Destination, Roots};

/// Longest secret, in bytes; a file that is longer is another one.
const SECRET_MAX: usize = 4096;

/// Receivers and the sign of life, ready for use.
#[derive(Debug, Default)]
pub struct Outbound {
    pub receivers: Vec<Setup>,
    pub heartbeat: Option<heartbeat::Setup>,
    /// Of the files of each receiver, in the same order, and last of the sign of life's: whether they have changed.
    pub digests: Vec<u64>,
}

/// Everything that tells others; what cannot be used is added to `errors`, and then the result is not whole.
pub(super) fn load(config: &Config, folder: &Path, errors: &mut Vec<LoadError>) -> Outbound {
    let mut outbound = Outbound::default();
    for receiver in &config.receivers {
        let mut files = Files::new(folder, format!("notify.{}", receiver.name));
        match setup(config, receiver, &mut files) {
            Ok(setup) => outbound.receivers.push(setup),
            Err(error) => errors.push(error),
        }
        outbound.digests.push(files.digest.finish());
    }
    let mut files = Files::new(folder, "heartbeat".to_owned());
    match config.heartbeat.as_ref().map(|heartbeat| beat(heartbeat, &mut files)).transpose() {
        Ok(heartbeat) => outbound.heartbeat = heartbeat,
        Err(error) => errors.push(error),
    }
    outbound.digests.push(files.digest.finish());
    outbound
}

/// The files of one table of the configuration.
struct Files<'a> {
    folder: &'a Path,
    table: String,
    digest: DefaultHasher,
}

impl<'a> Files<'a> {
    fn new(folder: &'a Path, table: String) -> Self {
        Self { folder, table, digest: DefaultHasher::new() }
    }

    fn failed(&self, detail: impl Into<String>) -> LoadError {
        LoadError::Outbound { table: self.table.clone(), detail: detail.into() }
    }

    fn text(&mut self, path: &Path) -> Result<String, LoadError> {
        let text = read(&self.folder.join(path))?;
        text.hash(&mut self.digest);
        Ok(text)
    }

    /// What a person put into a file: without the line's end that editors add.
    fn secret(&mut self, path: &Path) -> Result<String, LoadError> {
        let secret = self.text(path)?.trim_end_matches(['\r', '\n']).to_owned();
        if secret.is_empty() || secret.len() > SECRET_MAX || secret.contains(['\n', '\0']) {
            let detail = format!("{} has to hold one line of 1 to {SECRET_MAX} bytes", path.display());
            return Err(self.failed(detail));
        }
        Ok(secret)
    }

    fn url(&mut self, source: &UrlSource) -> Result<WebUrl, LoadError> {
        match source {
            UrlSource::Here(url) => Ok(url.clone()),
            UrlSource::File(path) => {
                let text = self.secret(path)?;
                WebUrl::parse(&text).map_err(|error| self.failed(format!("{}: {error}", path.display())))
            }
        }
    }

    fn roots(&mut self, ca: Option<&PathBuf>) -> Result<Roots, LoadError> {
        let Some(path) = ca else { return Ok(Roots::system()) };
        let pem = self.text(path)?;
        let failed = |detail| LoadError::Ca { path: self.folder.join(path), detail };
        Roots::from_pem(pem.as_bytes()).map_err(failed)
    }

    fn destination(&mut self, url: &UrlSource, ca: Option<&PathBuf>) -> Result<Destination, LoadError> {
        let (url, roots) = (self.url(url)?, self.roots(ca)?);
        Destination::new(url, &roots).map_err(|detail| self.failed(detail))
    }
}

fn setup(config: &Config, receiver: &Receiver, files: &mut Files<'_>) -> Result<Setup, LoadError> {
    let way = match &receiver.way {
        tidegate_config::Way::Webhook(webhook) => webhook_way(webhook, files)?,
        tidegate_config::Way::Command(words) => Way::command(words).map_err(|detail| files.failed(detail))?,
        tidegate_config::Way::Smtp(smtp) => mail_way(config, smtp, files)?,
    };
    Ok(Setup {
        name: receiver.name.clone(),
        way,
        filter: receiver.filter.clone(),
        timeout: receiver.timeout,
        give_up_after: receiver.give_up_after,
        queue_max: receiver.queue_max,
        coalesce: receiver.coalesce,
    })
}

fn webhook_way(webhook: &Webhook, files: &mut Files<'_>) -> Result<Way, LoadError> {
    let destination = files.destination(&webhook.url, webhook.ca.as_ref())?;
    let secret = webhook.secret.as_ref().map(|path| files.secret(path)).transpose()?;
    Ok(Way::webhook(destination, secret.as_ref().map(String::as_bytes)))
}

fn mail_way(config: &Config, smtp: &Smtp, files: &mut Files<'_>) -> Result<Way, LoadError> {
    let ca = smtp.ca.as_ref().map(|path| files.text(path)).transpose()?;
    let password = smtp.login.as_ref().map(|(_, path)| files.secret(path)).transpose()?;
    let mail = Mail::new(smtp, &config.node.name, ca.as_ref().map(String::as_bytes), password);
    mail.map(Way::mail).map_err(|detail| files.failed(detail))
}

fn beat(heartbeat: &Heartbeat, files: &mut Files<'_>) -> Result<heartbeat::Setup, LoadError> {
    Ok(heartbeat::Setup {
        destination: files.destination(&heartbeat.url, heartbeat.ca.as_ref())?,
        method: match heartbeat.method {
            HeartbeatMethod::Get => Method::GET,
            HeartbeatMethod::Post => Method::POST,
        },
        interval: heartbeat.interval,
        timeout: heartbeat.timeout,
    })
}
