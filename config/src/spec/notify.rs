//! Whom Tidegate tells what happened, and whom it tells that it is there at all.

use std::path::PathBuf;
use std::time::Duration;

use super::spec;
use super::value::{DAY, HOUR, MINUTE, command, ms, names, path};
use crate::reader::Field;
use crate::source::At;
use crate::web_url::WebUrl;

spec! {
    /// One who is told what happens: exactly one of `webhook`, `command` and `smtp`. See [notifications](notifications.md).
    struct NotifySpec in "notify.NAME" {
        /// Called with a JSON body.
        optional webhook: WebhookSpec = |field| {
            field.deny_text_for_table("url")?;
            WebhookSpec::read(field)
        },
        /// A program and its arguments, started without a shell, as the daemon's user, with the JSON text on its standard
        /// input. An absolute path.
        optional command: Vec<At<String>> = command,
        /// A mail relay that takes a message.
        optional smtp: SmtpSpec = SmtpSpec::read,
        /// What is told: kinds of events, or `"info"`, `"notice"`, `"warning"`, `"critical"` for that severity and those
        /// above it. Default `["notice"]`.
        optional on: Vec<At<String>> = names,
        /// Only events of these groups, and those that are about no group. Default all.
        optional groups: Vec<At<String>> = names,
        /// How long one try may take. Default `"10s"`, `"100ms"` to `"1m"`.
        optional timeout: Duration = |field| field.duration(ms(100)..=MINUTE),
        /// How long it is tried again, with growing pauses. Default `"1h"`, `"1s"` to `"1d"`.
        optional give_up_after: Duration = |field| field.duration(ms(1000)..=DAY),
        /// Messages that wait; beyond it the least urgent and oldest are left out. Default 100, 1 to 10000.
        optional queue_max: u64 = |field| field.integer(1..=10_000),
        /// Events that are alike within this time become two messages at most: the first at once, the number of the others
        /// at the end. Default `"1m"`, up to `"1h"`.
        optional coalesce: Duration = |field| field.duration(ms(0)..=HOUR),
    }
}

spec! {
    /// A URL that is called; exactly one of `url` and `url_file`. Redirects are not followed.
    struct WebhookSpec in "notify.NAME.webhook" {
        /// `http://` or `https://`, without a user name.
        optional url: WebUrl = WebUrl::read,
        /// File with the URL, where the URL itself is a secret.
        optional url_file: PathBuf = path,
        /// File with the key that signs every call (HMAC-SHA256). Default none: calls are not signed.
        optional secret_file: PathBuf = path,
        /// PEM file of the certificates that are trusted. Default what the system trusts.
        optional ca: PathBuf = path,
    }
}

spec! {
    /// A mail relay.
    struct SmtpSpec in "notify.NAME.smtp" {
        /// `host` or `host:port`. Default port 587 for `"starttls"`, 465 for `"implicit"`, 25 for `"none"`.
        required relay: HostPort = host_port,
        /// `"starttls"`: the connection must become encrypted; `"implicit"`: it is from the start; `"none"`: it is not.
        /// Default `"starttls"`.
        optional tls: SmtpTls = |field| field.one_of(&[
            ("starttls", SmtpTls::StartTls),
            ("implicit", SmtpTls::Implicit),
            ("none", SmtpTls::None),
        ]),
        /// PEM file of the certificates that are trusted. Default what the system trusts.
        optional ca: PathBuf = path,
        /// The address that messages come from.
        required from: String = mailbox,
        /// The addresses that get them.
        required to: Vec<At<String>> = |field| field.list(mailbox),
        /// Who logs in. Default nobody.
        optional user: String = Field::text,
        /// File with the user's password.
        optional password_file: PathBuf = path,
    }
}

spec! {
    /// A sign of life for somebody outside, who raises the alarm when it stays out: it is sent only while the control
    /// task answers and the store can be written. Exactly one of `url` and `url_file`.
    struct HeartbeatSpec in "heartbeat" {
        /// `http://` or `https://`, without a user name.
        optional url: WebUrl = WebUrl::read,
        /// File with the URL, where the URL itself is a secret.
        optional url_file: PathBuf = path,
        /// Default `"1m"`, `"1s"` to `"1h"`.
        optional interval: Duration = |field| field.duration(ms(1000)..=HOUR),
        /// How long one call may take. Default `"10s"`, `"100ms"` to `"1m"`.
        optional timeout: Duration = |field| field.duration(ms(100)..=MINUTE),
        /// `"get"` or `"post"`, the latter with an empty body. Default `"get"`.
        optional method: HeartbeatMethod = |field| field.one_of(&[
            ("get", HeartbeatMethod::Get),
            ("post", HeartbeatMethod::Post),
        ]),
        /// PEM file of the certificates that are trusted. Default what the system trusts.
        optional ca: PathBuf = path,
    }
}

/// How a connection to a relay is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SmtpTls {
    /// RFC 3207, and no message without it.
    #[default]
    StartTls,
    /// RFC 8314, section 3.3.
    Implicit,
    None,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeartbeatMethod {
    #[default]
    Get,
    Post,
}

/// A machine, by name or address, and a port where one is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
}

fn host_port(field: &Field<'_>) -> Option<HostPort> {
    let text = field.string()?;
    match crate::web_url::host_and_port(text) {
        Some((host, port)) => Some(HostPort { host, port }),
        None => {
            field.error_help(format!("`{text}` is no host"), "write it as \"mail.example.com:587\"");
            None
        }
    }
}

/// RFC 5321, section 4.1.2, as far as relays agree: no quotes, no comments.
fn mailbox(field: &Field<'_>) -> Option<String> {
    let text = field.string()?;
    let is_plain = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>()[]\\,;:\"".contains(&byte))
    };
    match text.split_once('@') {
        Some((local, domain))
            if text.len() <= 254 && is_plain(local) && is_plain(domain) && !domain.contains('@') =>
        {
            Some(text.to_owned())
        }
        _ => {
            field.error_help(
                format!("`{text}` is no mail address"),
                "write only the address: \"ops@example.com\"",
            );
            None
        }
    }
}
