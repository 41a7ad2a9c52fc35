//! What goes on while the configuration changes: questions and tunnels.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinHandle;

use crate::client::request;
use crate::scene::{PATIENCE, text};

/// Questions one after the other over UDP, each asked once.
pub(super) struct Questions {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    task: JoinHandle<u64>,
}

impl Questions {
    pub(super) fn start(server: std::net::SocketAddr) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (stop.clone(), asked.clone());
        let task = tokio::spawn(async move {
            let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port is free");
            socket.connect(server).await.expect("loopback");
            let mut question = b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x03www\x05scene\x04test\0\0\x01\0\x01".to_vec();
            let (mut buffer, mut unanswered) = ([0; 512], 0);
            for id in 0u16.. {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                question[..2].copy_from_slice(&id.to_be_bytes());
                socket.send(&question).await.expect("it can be sent");
                let answer = tokio::time::timeout(Duration::from_secs(2), socket.recv(&mut buffer)).await;
                let is_good = answer.is_ok_and(|read| {
                    read.is_ok_and(|length| length > 12 && buffer[..2] == question[..2] && buffer[7] == 1)
                });
                unanswered += u64::from(!is_good);
                count.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            unanswered
        });
        Self { stop, asked, task }
    }

    pub(super) async fn end(self) -> (u64, u64) {
        self.stop.store(true, Ordering::SeqCst);
        (self.asked.load(Ordering::SeqCst), self.task.await.expect("no panic"))
    }
}

/// A tunnel through the proxy, which echoes.
pub(super) struct Tunnel<S>(S);

impl Tunnel<TcpStream> {
    pub(super) async fn open(server: std::net::SocketAddr, host: &str) -> Self {
        Self::over(TcpStream::connect(server).await.expect("the proxy listens"), host).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Tunnel<S> {
    pub(super) async fn over(mut stream: S, host: &str) -> Self {
        let upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket")];
        stream.write_all(&request("GET", host, "/ws", &upgrade, b"")).await.expect("it can be sent");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("an answer"));
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", text(&head));
        Self(stream)
    }

    pub(super) async fn echoes(&mut self) {
        self.0.write_all(b"ping").await.expect("the tunnel lives");
        self.0.flush().await.expect("the tunnel lives");
        let mut echo = [0; 4];
        let read = tokio::time::timeout(PATIENCE, self.0.read_exact(&mut echo)).await;
        read.expect("an echo in time").expect("the tunnel lives");
        assert_eq!(&echo, b"ping");
    }
}
