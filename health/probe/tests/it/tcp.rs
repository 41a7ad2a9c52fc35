//! A connection that is accepted is a pass, and it is closed in peace.

use tidegate_probe::{Failure, Kind, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::support::{Origin, prober, refusing};

#[tokio::test]
async fn an_accepted_connection_passes() {
    let origin = Origin::raw(|_, _| async {}).await;
    let mut prober = prober(origin.addr, Kind::Tcp);
    for connections in 1..=3 {
        assert_eq!(prober.probe().await.outcome, Outcome::Pass);
        prober.rest().await;
        origin.seen.until(|seen| seen.connections() == connections).await;
    }
}

#[tokio::test]
async fn a_closed_port_is_refused() {
    let (addr, _socket) = refusing();
    assert_eq!(prober(addr, Kind::Tcp).probe().await.outcome, Outcome::Fail(Failure::Refused));
}

#[tokio::test]
async fn a_banner_is_not_answered_with_a_reset() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let origin = Origin::raw(move |mut stream, seen| {
        let tell = tell.clone();
        async move {
            stream.write_all(b"220 mail.example.com ESMTP\r\n").await.unwrap();
            seen.request();
            let mut end = Vec::new();
            tell.send(stream.read_to_end(&mut end).await.map_err(|error| error.kind())).unwrap();
        }
    })
    .await;
    let mut prober = prober(origin.addr, Kind::Tcp);
    assert_eq!(prober.probe().await.outcome, Outcome::Pass);
    origin.seen.until(|seen| seen.requests() == 1).await;
    prober.rest().await;
    assert_eq!(told.recv().await.unwrap(), Ok(0));
}
