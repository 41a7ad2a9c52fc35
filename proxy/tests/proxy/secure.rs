//! Plain HTTP is sent to HTTPS, and HTTPS is told to stay.

use http::HeaderValue;
use tidegate_proxy::{ClientAddress, Front, Limits, Network, ServiceView};

use crate::kit::*;

/// A service behind a believed proxy that says with every request whether it came over HTTPS.
async fn edge(service: ServiceView) -> Edge {
    let loopback = vec![Network::new([127, 0, 0, 0].into(), 8)];
    let addresses = ClientAddress { forwarded_from: loopback, ..ClientAddress::default() };
    Edge::fronted(service, Limits::default(), addresses, Front::plain()).await
}

fn get(target: &str, host: &str, scheme: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-Proto: {scheme}\r\n\r\n")
}

#[tokio::test]
async fn plain_http_is_redirected_and_https_is_served() {
    let origin = Origin::named("a").await;
    let mut service = service(&[origin.addr]);
    service.settings.redirect_https = true;
    let edge = edge(service).await;
    let mut client = edge.client().await;
    for (target, host, location) in [
        ("/p?q=1&r", "App.Test:8080", "https://app.test/p?q=1&r"),
        ("/", "app.test.", "https://app.test/"),
        ("http://app.test/p?q", "app.test", "https://app.test/p?q"),
        ("http://app.test?q", "app.test", "https://app.test/?q"),
        ("//elsewhere.test/", "app.test", "https://app.test//elsewhere.test/"),
    ] {
        let answer = client.ask(get(target, host, "http")).await;
        assert_eq!((answer.status, answer.field("location")), (308, Some(location)), "{target}");
    }
    let upgrade = "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(client.ask(upgrade).await.status, 308);
    assert_eq!(edge.ask(post("body")).await.status, 308);
    assert_eq!(client.ask(get("/", "unknown.test", "http")).await.status, 404);
    assert_eq!(origin.log.requests(), 0);
    assert_eq!(client.ask(get("/", "app.test", "https")).await.text(), "a");
}

#[tokio::test]
async fn a_request_that_names_no_host_is_not_redirected_to_its_path() {
    let origin = Origin::named("a").await;
    let mut service = service(&[origin.addr]);
    service.hosts = vec!["*".into()];
    service.settings.redirect_https = true;
    let edge = edge(service).await;
    for request in ["GET /evil.test HTTP/1.1\r\nHost:\r\n\r\n", "GET /evil.test HTTP/1.0\r\n\r\n"] {
        let answer = edge.ask(request).await;
        assert_eq!((answer.reason(), answer.field("location")), ((400, "bad-request"), None), "{request}");
    }
    assert_eq!(edge.ask(GET).await.field("location"), Some("https://app.test/"));
    assert_eq!(origin.log.requests(), 0);
}

#[tokio::test]
async fn hsts_is_said_over_https_only_and_an_origins_own_stays() {
    let origin = Origin::replying(|head, _| {
        let own = if head.contains("/own") { "Strict-Transport-Security: max-age=1\r\n" } else { "" };
        format!("HTTP/1.1 200 OK\r\n{own}Content-Length: 0\r\n\r\n").into_bytes()
    })
    .await;
    let mut service = service(&[origin.addr]);
    service.settings.hsts = Some(HeaderValue::from_static("max-age=60"));
    let edge = edge(service.clone()).await;
    for (target, scheme, expected) in
        [("/", "https", Some("max-age=60")), ("/", "http", None), ("/own", "https", Some("max-age=1"))]
    {
        let answer = edge.ask(get(target, "app.test", scheme)).await;
        assert_eq!(answer.field("strict-transport-security"), expected, "{target} over {scheme}");
        assert!(answer.head.matches("ransport").count() <= 1);
    }
    service.active = None;
    edge.publish(service);
    let own_page = edge.ask(get("/", "app.test", "https")).await;
    assert_eq!(own_page.status, 503);
    assert_eq!(own_page.field("strict-transport-security"), Some("max-age=60"), "pages of our own, too");
}
