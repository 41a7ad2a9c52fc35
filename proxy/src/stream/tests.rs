use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

async fn pair(side: Side) -> (Box<Wire>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let connecting = TcpStream::connect(listener.local_addr().expect("bound"));
    let (near, far) = tokio::join!(connecting, listener.accept());
    (Wire::new(Transport::Tcp(near.expect("connected")), side), far.expect("accepted").0)
}

#[tokio::test]
async fn towards_a_client_the_head_waits_for_the_first_piece_only() {
    let (mut wire, mut far) = pair(Side::Client).await;
    for _ in 0..2 {
        wire.write_all(b"head").await.expect("written");
        assert_eq!(wire.queued(), 4, "held back");
        wire.write_all(b"body").await.expect("written");
        assert_eq!(wire.queued(), 0, "both are on their way without a flush");
        wire.write_all(b"more").await.expect("written");
        assert_eq!(wire.queued(), 0, "later pieces do not wait");
        let mut seen = [0; 12];
        far.read_exact(&mut seen).await.expect("arrived");
        assert_eq!(&seen, b"headbodymore");
        wire.flush().await.expect("flushed");
    }
    wire.write_all(b"alone").await.expect("written");
    wire.flush().await.expect("flushed");
    let mut seen = [0; 5];
    far.read_exact(&mut seen).await.expect("arrived");
}

#[tokio::test]
async fn towards_an_origin_writing_never_blocks_and_reading_drives_it_out() {
    let (mut wire, mut far) = pair(Side::Origin).await;
    let piece = vec![7u8; 64 * 1024];
    let mut written = 0usize;
    while wire.queued() == 0 {
        wire.write_all(&piece).await.expect("written");
        written += piece.len();
    }
    let drained = wire.drained();
    far.write_all(b"answer").await.expect("written");
    let mut answer = [0; 6];
    wire.read_exact(&mut answer).await.expect("the answer is heard although the upload is stuck");
    assert_eq!((&answer, wire.received()), (b"answer", 6));
    assert_eq!(wire.sent(), (written - wire.queued()) as u64);
    let reading = tokio::spawn(async move {
        let mut seen = vec![0; written];
        far.read_exact(&mut seen).await.expect("arrived");
        far
    });
    let mut byte = [0; 1];
    tokio::select! {
        _ = wire.read(&mut byte) => panic!("nothing was sent"),
        () = drained.notified() => {}
    }
    assert_eq!(wire.queued(), 0);
    reading.await.expect("all of it");
}

#[tokio::test]
async fn only_an_open_and_silent_connection_is_quiet() {
    let (mut wire, mut far) = pair(Side::Origin).await;
    assert!(wire.is_quiet());
    wire.unread(BytesMut::from(&b"x"[..]));
    assert!(!wire.is_quiet());
    wire.read_exact(&mut [0; 1]).await.expect("given back");
    assert!(wire.is_quiet());
    far.write_all(b"unasked").await.expect("written");
    let Transport::Tcp(tcp) = &wire.io else { panic!("plain") };
    tcp.readable().await.expect("readable");
    assert!(!wire.is_quiet());
    let (mut wire, far) = pair(Side::Origin).await;
    drop(far);
    let Transport::Tcp(tcp) = &wire.io else { panic!("plain") };
    tcp.readable().await.expect("readable");
    assert!(!wire.is_quiet(), "closed");
}

/// The request that is about to be sent must not be lost on a connection whose end the kernel knows of already. Nothing is
/// awaited here, so tokio has not been told.
#[tokio::test]
async fn an_end_that_only_the_kernel_knows_of_is_seen() {
    let (mut wire, far) = pair(Side::Origin).await;
    assert!(wire.is_quiet());
    drop(far);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while wire.is_quiet() {
        assert!(std::time::Instant::now() < deadline, "never seen");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
