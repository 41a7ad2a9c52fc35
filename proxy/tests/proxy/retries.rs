//! Tried again when it is safe, never when it is not; other sites only when allowed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidegate_proxy::{BudgetPolicy, RetryBudget, SignalKind, Spill};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::kit::*;

/// Reads a request and hangs up without an answer.
async fn hanging_up() -> Origin {
    Origin::raw(|mut stream: TcpStream, log| {
        Box::pin(async move {
            if let Some(head) = read_head(&mut stream, &mut Vec::new()).await {
                log.heads.lock().unwrap().push(head);
            }
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_origin_no_failed_get() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let edge = Arc::new(Edge::new(service(&[a.addr, b.addr])).await);
    let going = Arc::new(AtomicBool::new(true));
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let (edge, going) = (Arc::clone(&edge), Arc::clone(&going));
            tokio::spawn(async move {
                let mut client = edge.client().await;
                let mut codes = Vec::new();
                while going.load(Ordering::SeqCst) {
                    codes.push(client.ask(GET).await.status);
                }
                codes
            })
        })
        .collect();
    until(|| a.log.requests() > 200).await;
    let dead = a.kill().await;
    let before = b.log.requests();
    until(|| b.log.requests() > before + 500).await;
    going.store(false, Ordering::SeqCst);
    let mut codes = Vec::new();
    for client in clients {
        codes.extend(within(client).await.unwrap());
    }
    assert!(codes.len() > 700 && codes.iter().all(|&code| code == 200), "{codes:?}");
    assert!(dead.requests() > 200);
    let signals = edge.told.signals.lock().unwrap();
    assert!(signals.iter().any(|signal| signal.ejected), "ejected by what the traffic saw");
}

#[tokio::test]
async fn refused_connect_post_goes_to_the_other_origin() {
    let b = Origin::named("b").await;
    let edge = Edge::new(service(&[closed_port().await, b.addr])).await;
    for _ in 0..20 {
        assert_eq!(edge.ask(post("once")).await.text(), "b");
    }
    assert_eq!(b.log.requests(), 20);
    let signals = edge.told.signals.lock().unwrap();
    assert_eq!(signals.len(), 1, "ejected at once, so met once");
    assert!(signals[0].ejected && signals[0].kind == SignalKind::Refused);
    assert_eq!(edge.told.retries.lock().unwrap()["connect"], 1);
}

#[tokio::test]
async fn sent_post_is_executed_at_most_once() {
    let (a, b) = (hanging_up().await, hanging_up().await);
    let edge = Edge::new(service(&[a.addr, b.addr])).await;
    let answer = edge.ask(post("once")).await;
    assert_eq!(answer.reason(), (502, "reset"));
    assert_eq!(a.log.requests() + b.log.requests(), 1);
}

#[tokio::test]
async fn get_with_a_body_counts_as_unsafe() {
    let (a, b) = (hanging_up().await, hanging_up().await);
    let edge = Edge::new(service(&[a.addr, b.addr])).await;
    let answer = edge.ask("GET / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1\r\n\r\nx").await;
    assert_eq!(answer.reason(), (502, "reset"));
    assert_eq!(a.log.requests() + b.log.requests(), 1);
}

#[tokio::test]
async fn sent_get_is_tried_once_elsewhere_and_no_further() {
    let origins = [hanging_up().await, hanging_up().await, hanging_up().await];
    let edge = Edge::new(service(&origins.each_ref().map(|o| o.addr))).await;
    assert_eq!(edge.ask(GET).await.reason(), (502, "reset"));
    let mut counts = origins.each_ref().map(|o| o.log.requests());
    counts.sort_unstable();
    assert_eq!(counts, [0, 1, 1]);
    assert_eq!(edge.told.retries.lock().unwrap()["died"], 1);
}

#[tokio::test]
async fn an_answer_that_has_begun_is_not_tried_again() {
    let half = || {
        Origin::raw(|mut stream, log| {
            Box::pin(async move {
                if let Some(head) = read_head(&mut stream, &mut Vec::new()).await {
                    log.heads.lock().unwrap().push(head);
                    let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 200 O").await;
                }
            })
        })
    };
    let (a, b) = (half().await, half().await);
    let edge = Edge::new(service(&[a.addr, b.addr])).await;
    assert_eq!(edge.ask(GET).await.reason(), (502, "reset"));
    assert_eq!(a.log.requests() + b.log.requests(), 1);
}

#[tokio::test]
async fn a_stale_connection_of_the_only_origin_is_replaced() {
    // Takes one request per connection and hangs up on the second without having announced it.
    let origin = Origin::raw(|mut stream, log| {
        Box::pin(async move {
            let mut buf = Vec::new();
            if read_head(&mut stream, &mut buf).await.is_some() {
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, &ok("a")).await;
                let _ = stream.read_buf(&mut buf).await;
                log.heads.lock().unwrap().push("hung up".into());
            }
        })
    })
    .await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let mut client = edge.client().await;
    for _ in 0..5 {
        assert_eq!(client.ask(GET).await.status, 200);
    }
    assert_eq!(edge.told.retries.lock().unwrap()["stale"], 4);
    assert_eq!(client.ask(post("once")).await.reason(), (502, "reset"));
}

#[tokio::test]
async fn attempts_are_capped() {
    let mut dead = Vec::new();
    for _ in 0..6 {
        dead.push(closed_port().await);
    }
    let mut capped = service(&dead);
    capped.settings.attempts_max = 2;
    let edge = Edge::new(capped).await;
    assert_eq!(edge.ask(GET).await.reason(), (502, "connect-failed"));
    assert_eq!(edge.told.signals.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn five_errors_in_a_row_eject_and_the_last_origin_stays() {
    let bad = Origin::replying(|_, _| b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    let good = Origin::named("good").await;
    let both = service(&[bad.addr, good.addr]);
    let target = Arc::clone(&both.active.as_ref().unwrap().origins[0].target);
    let edge = Edge::new(both).await;
    let mut client = edge.client().await;
    let mut bad_answers = 0;
    for _ in 0..100 {
        bad_answers += usize::from(client.ask(GET).await.status == 500);
    }
    assert_eq!(bad_answers, 5);
    assert!(target.is_ejected());
    target.reinstate();
    assert!(target.is_ejected(), "a probe asks for something else than what failed");
    // Alone at its site it is never ejected, whatever it answers.
    let edge = Edge::new(service(&[bad.addr])).await;
    let mut client = edge.client().await;
    for _ in 0..20 {
        assert_eq!(client.ask(GET).await.status, 500);
    }
    assert!(edge.told.signals.lock().unwrap().iter().all(|signal| !signal.ejected));
}

/// A client chooses methods and versions; it must not be able to take an origin away with them.
#[tokio::test]
async fn what_a_client_brings_about_is_no_failure_of_the_origin() {
    for status in [501, 505] {
        let refusing = move || {
            Origin::replying(move |_, _| format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n").into())
        };
        let (a, b) = (refusing().await, refusing().await);
        let edge = Edge::new(service(&[a.addr, b.addr])).await;
        let mut client = edge.client().await;
        for _ in 0..30 {
            assert_eq!(client.ask("BREW / HTTP/1.1\r\nHost: app.test\r\n\r\n").await.status, status);
        }
        assert!(edge.told.signals.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn fail_static_tries_what_is_down_but_never_what_is_forced_down() {
    let (down, forced) = (Origin::named("down").await, Origin::named("forced").await);
    let mut all_down = service(&[down.addr, forced.addr]);
    for origin in &mut all_down.active.as_mut().unwrap().origins {
        origin.up = false;
    }
    all_down.active.as_mut().unwrap().origins[1].forced_down = true;
    let edge = Edge::new(all_down).await;
    for _ in 0..20 {
        assert_eq!(edge.ask(GET).await.text(), "down");
    }
    assert_eq!(forced.log.connections(), 0);
}

#[tokio::test]
async fn spill_follows_its_setting() {
    for (spill, get, post_code) in [(Spill::Never, 502, 502), (Spill::Safe, 200, 502), (Spill::Any, 200, 200)]
    {
        let dr = Origin::named("dr").await;
        let mut dead = service(&[closed_port().await, closed_port().await]);
        dead.spill = spill;
        dead.spill_sites = vec![site("linode", &[&target(dr.addr)])];
        let edge = Edge::new(dead).await;
        let answer = edge.ask(GET).await;
        assert_eq!(answer.status, get, "{spill:?}");
        assert_eq!(answer.field("x-tidegate-spilled"), (get == 200).then_some("linode"));
        assert_eq!(edge.ask(post("x")).await.status, post_code, "{spill:?}");
        let spilled = usize::from(get == 200) + usize::from(post_code == 200);
        assert_eq!(edge.told.spills.load(Ordering::SeqCst), spilled);
        let requests = edge.told.requests.lock().unwrap();
        assert_eq!(requests.iter().filter(|(site, _, s)| *s && site == "linode").count(), spilled);
    }
}

#[tokio::test]
async fn spill_any_does_not_send_a_post_twice() {
    let (dead, dr) = (hanging_up().await, Origin::named("dr").await);
    let mut any = service(&[dead.addr]);
    any.spill = Spill::Any;
    any.spill_sites = vec![site("linode", &[&target(dr.addr)])];
    let edge = Edge::new(any).await;
    assert_eq!(edge.ask(post("x")).await.reason(), (502, "reset"));
    assert_eq!(edge.ask(GET).await.text(), "dr");
    assert_eq!(dr.log.requests(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_origins_killed_with_spill_no_failed_get() {
    let (a, b, dr) = (Origin::named("a").await, Origin::named("b").await, Origin::named("dr").await);
    let mut safe = service(&[a.addr, b.addr]);
    safe.spill = Spill::Safe;
    safe.spill_sites = vec![site("linode", &[&target(dr.addr)])];
    let edge = Arc::new(Edge::new(safe).await);
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let edge = Arc::clone(&edge);
            tokio::spawn(async move {
                let mut client = edge.client().await;
                let mut codes = Vec::new();
                for _ in 0..200 {
                    codes.push(client.ask(GET).await.status);
                }
                codes
            })
        })
        .collect();
    until(|| a.log.requests() > 50 && b.log.requests() > 50).await;
    a.kill().await;
    b.kill().await;
    for client in clients {
        assert!(within(client).await.unwrap().iter().all(|&code| code == 200));
    }
    assert!(dr.log.requests() > 100);
}

#[tokio::test]
async fn an_empty_budget_allows_no_second_sending_but_any_number_of_connects() {
    let origins = [hanging_up().await, hanging_up().await];
    let mut poor = service(&origins.each_ref().map(|o| o.addr));
    let none = BudgetPolicy { share_percent: 0, floor_per_second: 0 };
    poor.budget = Arc::new(RetryBudget::new(none));
    let edge = Edge::new(poor).await;
    assert_eq!(edge.ask(GET).await.reason(), (502, "reset"));
    assert_eq!(origins.iter().map(|o| o.log.requests()).sum::<usize>(), 1);
    let alive = Origin::named("a").await;
    let mut half_dead = service(&[closed_port().await, alive.addr]);
    half_dead.budget = Arc::new(RetryBudget::new(none));
    let edge = Edge::new(half_dead).await;
    for _ in 0..20 {
        assert_eq!(edge.ask(GET).await.text(), "a");
    }
}

/// Spilling what an overloaded site resets would double the load at the other one.
#[tokio::test]
async fn an_empty_budget_spills_nothing_that_was_sent() {
    let dr = Origin::named("dr").await;
    let none = BudgetPolicy { share_percent: 0, floor_per_second: 0 };
    let spilling = |addr| {
        let mut poor = service(&[addr]);
        poor.budget = Arc::new(RetryBudget::new(none));
        poor.spill = Spill::Any;
        poor.spill_sites = vec![site("linode", &[&target(dr.addr)])];
        poor.settings.first_byte_timeout = Duration::from_millis(100);
        poor
    };
    let resetting = hanging_up().await;
    let silent = Origin::raw(|stream, _| {
        Box::pin(async move {
            let _open = stream;
            std::future::pending::<()>().await;
        })
    })
    .await;
    for (origin, reason) in [(resetting, (502, "reset")), (silent, (504, "silent"))] {
        let edge = Edge::new(spilling(origin.addr)).await;
        assert_eq!(edge.ask(GET).await.reason(), reason);
    }
    assert_eq!(dr.log.connections(), 0);
    let edge = Edge::new(spilling(closed_port().await)).await;
    for _ in 0..20 {
        assert_eq!(edge.ask(GET).await.text(), "dr", "what was not sent costs nothing");
    }
}

/// One second sending is charged once, whether it goes to another origin or to another site.
#[tokio::test]
async fn a_budget_of_one_pays_for_one_spill() {
    let (main, dr) = (hanging_up().await, Origin::named("dr").await);
    let mut tight = service(&[main.addr]);
    // One for each request.
    tight.budget = Arc::new(RetryBudget::new(BudgetPolicy { share_percent: 100, floor_per_second: 0 }));
    tight.spill = Spill::Safe;
    tight.spill_sites = vec![site("linode", &[&target(dr.addr)])];
    let edge = Edge::new(tight).await;
    for _ in 0..5 {
        assert_eq!(edge.ask(GET).await.text(), "dr");
    }
}

#[tokio::test]
async fn an_address_that_swallows_connections_is_passed_over_in_time() {
    // A listener that never accepts, its backlog of one filled: further connections hang.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = socket.local_addr().unwrap();
    let _listener = socket.listen(0).unwrap();
    let mut filling = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(addr)).await
    {
        filling.push(stream);
        assert!(filling.len() < 100, "the backlog never fills");
    }
    let alive = Origin::named("a").await;
    let mut half_dead = service(&[addr, alive.addr]);
    half_dead.settings.connect_timeout = Duration::from_millis(200);
    let edge = Edge::new(half_dead).await;
    for _ in 0..20 {
        assert_eq!(edge.ask(post("once")).await.text(), "a");
    }
    let signals = edge.told.signals.lock().unwrap();
    assert!(signals.len() == 1 && signals[0].kind == SignalKind::ConnectTimeout && signals[0].ejected);
}
