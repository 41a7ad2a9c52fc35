//! A mail relay, as strict as a test needs it: what it heard before TLS and within, and the mails it took.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    pub(crate) clear: Vec<String>,
    pub(crate) encrypted: Vec<String>,
    pub(crate) mails: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct Relay {
    pub(crate) addr: SocketAddr,
    heard: Arc<Mutex<Heard>>,
}

impl Relay {
    /// With an acceptor it offers STARTTLS.
    pub(crate) async fn start(acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let relay = Self { addr: listener.local_addr().expect("an address"), heard: Arc::default() };
        let served = relay.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (relay, acceptor) = (served.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let _ = stream.write_all(b"220 relay.test ESMTP\r\n").await;
                    let wants_tls = relay.talk(&mut stream, acceptor.is_some(), false).await;
                    if let Some(acceptor) = acceptor.filter(|_| wants_tls)
                        && let Ok(mut stream) = acceptor.accept(stream).await
                    {
                        relay.talk(&mut stream, false, true).await;
                    }
                });
            }
        });
        relay
    }

    pub(crate) fn heard(&self) -> Heard {
        self.heard.lock().expect("no test panics with it").clone()
    }

    /// Until the end, or until TLS is wanted.
    async fn talk(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        offers_tls: bool,
        encrypted: bool,
    ) -> bool {
        let (mut lines, mut body) = (BufReader::new(stream), None::<String>);
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line).await.unwrap_or(0) == 0 {
                return false;
            }
            if let Some(mut mail) = body.take() {
                if line == ".\r\n" {
                    self.heard.lock().expect("no test panics with it").mails.push(mail);
                    let _ = lines.write_all(b"250 2.0.0 queued\r\n").await;
                } else {
                    mail.push_str(&line);
                    body = Some(mail);
                }
                continue;
            }
            let line = line.trim_end().to_owned();
            {
                let mut heard = self.heard.lock().expect("no test panics with it");
                if encrypted { heard.encrypted.push(line.clone()) } else { heard.clear.push(line.clone()) }
            }
            let word = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let answer = match word.as_str() {
                "EHLO" if offers_tls => "250-relay.test\r\n250 STARTTLS",
                "EHLO" if encrypted => "250-relay.test\r\n250 AUTH PLAIN LOGIN",
                "EHLO" => "250 relay.test",
                "STARTTLS" if offers_tls => "220 go on",
                "AUTH" => "235 2.7.0 welcome",
                "MAIL" | "RCPT" | "RSET" | "NOOP" => "250 fine",
                "DATA" => {
                    body = Some(String::new());
                    "354 go on"
                }
                "QUIT" => "221 bye",
                _ => "502 what?",
            };
            let _ = lines.write_all(format!("{answer}\r\n").as_bytes()).await;
            match word.as_str() {
                "STARTTLS" if offers_tls => return true,
                "QUIT" => return false,
                _ => {}
            }
        }
    }
}
