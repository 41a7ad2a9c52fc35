//! The ways to a receiver. Secrets are in here and nowhere else: they are not shown, not even for debugging.

use std::fmt;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, header};
use ring::hmac;
use tidegate_probe::command::{Command, End, Slots};

use super::hex;
use super::mail::Mail;
use super::message::Letter;
use crate::clock::wall;
use crate::outbound::{Destination, Fault};

const TIMESTAMP: HeaderName = HeaderName::from_static("tidegate-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("tidegate-signature");
const EVENT_ID: HeaderName = HeaderName::from_static("tidegate-event-id");

/// How a receiver is reached, with all that it takes.
#[derive(Clone)]
pub struct Way(Kind);

#[derive(Clone)]
enum Kind {
    Webhook {
        destination: Destination,
        key: Option<hmac::Key>,
    },
    /// One at a time: a program that cannot be killed keeps its slot, and the next try waits for it.
    Command {
        command: Command,
        slots: Slots,
    },
    Mail(Mail),
}

impl Way {
    pub(crate) fn webhook(destination: Destination, secret: Option<&[u8]>) -> Self {
        let key = secret.map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret));
        Self(Kind::Webhook { destination, key })
    }

    /// # Errors
    /// It is no program that could be started.
    pub(crate) fn command(words: &[String]) -> Result<Self, String> {
        let command = Command::new(words).map_err(|error| error.to_string())?;
        Ok(Self(Kind::Command { command, slots: Slots::new(1) }))
    }

    pub(crate) fn mail(mail: Mail) -> Self {
        Self(Kind::Mail(mail))
    }

    /// One try.
    pub(super) async fn send(&self, letter: &Letter, limit: Duration) -> Result<(), Fault> {
        match &self.0 {
            Kind::Webhook { destination, key } => post(destination, key.as_ref(), letter).await,
            Kind::Command { command, slots } => run(command, slots, letter, limit).await,
            Kind::Mail(mail) => mail.send(letter).await,
        }
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Webhook { .. } => "Webhook(..)",
            Kind::Command { .. } => "Command(..)",
            Kind::Mail(_) => "Mail(..)",
        })
    }
}

async fn post(destination: &Destination, key: Option<&hmac::Key>, letter: &Letter) -> Result<(), Fault> {
    let body = letter.json();
    let timestamp = (wall().0 / 1000).to_string();
    let value = |text: String| {
        HeaderValue::try_from(text).expect("hexadecimal digits and numbers make a header's value")
    };
    let mut headers = vec![
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (EVENT_ID, value(letter.message.id.clone())),
        (TIMESTAMP, value(timestamp.clone())),
    ];
    if let Some(key) = key {
        headers.push((SIGNATURE, value(format!("v1={}", signature(key, &timestamp, &body)))));
    }
    destination.call(Method::POST, headers, body.into()).await
}

/// Over the time as well, so that what was recorded once cannot be played again later.
fn signature(key: &hmac::Key, timestamp: &str, body: &str) -> String {
    let mut context = hmac::Context::with_key(key);
    context.update(timestamp.as_bytes());
    context.update(b".");
    context.update(body.as_bytes());
    hex(context.sign().as_ref())
}

async fn run(command: &Command, slots: &Slots, letter: &Letter, limit: Duration) -> Result<(), Fault> {
    let slot = slots.take().await;
    let ran = command.clone().with_stdin(letter.json().into_bytes()).run(slot, limit).await;
    let said = ran.line().map_or_else(String::new, |line| format!(": {line}"));
    match ran.how {
        End::Exited(0) => Ok(()),
        End::Exited(code) => Err(Fault::new(format!("the program ended with {code}{said}"))),
        End::Signalled(signal) => Err(Fault::new(format!("the program was ended by signal {signal}{said}"))),
        End::TimedOut => {
            Err(Fault::new(format!("the program was killed after {} ms{said}", limit.as_millis())))
        }
        End::CannotStart(error) => Err(Fault::new(format!("the program cannot be started: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of docs/notifications.md, made with:
    /// `printf '%s.%s' 1700000000 '{"version":1}' | openssl dgst -sha256 -hmac swordfish`
    #[test]
    fn a_signature_is_what_the_document_says() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"swordfish");
        let expected = "22c922e0bdd8a174cf1435b2d3cff7b307ca8803724cd91b92a3f57e2152288e";
        assert_eq!(signature(&key, "1700000000", "{\"version\":1}"), expected);
    }
}
