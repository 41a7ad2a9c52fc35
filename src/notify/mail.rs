//! Mail through a relay: RFC 5321, STARTTLS (RFC 3207) or TLS from the start (RFC 8314), AUTH (RFC 4954).

use std::net::SocketAddr;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use tidegate_config::{Smtp, SmtpTls};
use tidegate_health::id::Name;

use super::message::Letter;
use crate::outbound::{Fault, resolve};

/// Each step of the conversation has less than the whole try has.
const STEP_MAX: Duration = Duration::from_secs(60);

/// A relay, and from whom to whom.
#[derive(Clone)]
pub(crate) struct Mail {
    host: String,
    port: u16,
    tls: Tls,
    login: Option<Credentials>,
    node: Name,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Mail {
    /// `ca` is a PEM text of certificates to trust instead of the system's, `password` that of the configured user.
    ///
    /// # Errors
    /// An address that mail does not know, or certificates that cannot be used.
    pub(crate) fn new(
        settings: &Smtp,
        node: &Name,
        ca: Option<&[u8]>,
        password: Option<String>,
    ) -> Result<Self, String> {
        let tls = match settings.tls {
            SmtpTls::None => Tls::None,
            SmtpTls::StartTls => Tls::Required(parameters(&settings.host, ca)?),
            SmtpTls::Implicit => Tls::Wrapper(parameters(&settings.host, ca)?),
        };
        let login = settings.login.as_ref().zip(password);
        Ok(Self {
            host: settings.host.clone(),
            port: settings.port,
            tls,
            login: login.map(|((user, _), password)| Credentials::new(user.clone(), password)),
            node: node.clone(),
            from: mailbox(&settings.from)?,
            to: settings.to.iter().map(|address| mailbox(address)).collect::<Result<_, _>>()?,
        })
    }

    /// To the first address of the relay that answers.
    pub(super) async fn send(&self, letter: &Letter) -> Result<(), Fault> {
        let mut last = Fault::new(format!("{} has no address", self.host));
        for address in resolve(&self.host, self.port).await.map_err(Fault::new)? {
            let message = self.message(letter).map_err(|error| Fault::new(format!("no message: {error}")))?;
            match self.transport(address).send(message).await {
                Ok(_) => return Ok(()),
                Err(error) => {
                    let was_heard = error.is_response() || error.is_permanent() || error.is_transient();
                    let what = format!("the relay {address}: {}", whole(&error));
                    last = Fault { is_refusal: error.is_permanent(), ..Fault::new(what) };
                    // What one of its addresses has taken in and refused, the next would refuse, or deliver twice.
                    if was_heard {
                        break;
                    }
                }
            }
        }
        Err(last)
    }

    fn transport(&self, address: SocketAddr) -> AsyncSmtpTransport<Tokio1Executor> {
        // By its address, so that no name is resolved once more; the certificate is held against the name.
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(address.ip().to_string())
            .port(address.port())
            .tls(self.tls.clone())
            .hello_name(self.hello())
            .timeout(Some(STEP_MAX));
        match &self.login {
            Some(login) => builder.credentials(login.clone()).build(),
            None => builder.build(),
        }
    }

    /// A node's name need not be one of DNS, and relays may look at what they are told.
    fn hello(&self) -> ClientId {
        if self.node.contains('.') {
            ClientId::Domain(self.node.to_string())
        } else {
            ClientId::Ipv4(std::net::Ipv4Addr::LOCALHOST)
        }
    }

    fn message(&self, letter: &Letter) -> Result<lettre::Message, lettre::error::Error> {
        let mut builder = lettre::Message::builder()
            .from(self.from.clone())
            .subject(letter.subject())
            // The same for every try, so that a message that was taken twice is shown once.
            .message_id(Some(format!("<{}@{}>", letter.message.id, self.from.email.domain())))
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        let mut message = builder.body(letter.text())?;
        // RFC 3834, section 5: nobody's holiday answers this.
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        message.headers_mut().insert_raw(HeaderValue::new(automatic, "auto-generated".into()));
        Ok(message)
    }
}

fn parameters(host: &str, ca: Option<&[u8]>) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(pem) = ca {
        builder = builder.certificate_store(CertificateStore::None);
        builder = builder.add_root_certificate(Certificate::from_pem(pem).map_err(|error| whole(&error))?);
    }
    builder.build().map_err(|error| whole(&error))
}

fn mailbox(address: &str) -> Result<Mailbox, String> {
    let parsed: Address =
        address.parse().map_err(|error| format!("`{address}` is no mail address: {error}"))?;
    Ok(Mailbox::new(None, parsed))
}

/// An error with its causes, on one line.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).take(300).collect()
}
