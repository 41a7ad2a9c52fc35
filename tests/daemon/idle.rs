//! What clients cost that have made a request and keep their connection: ten thousand of them are an ordinary evening.

use std::io;
use std::net::SocketAddr;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::client::request;
use crate::scene::{HOST, PATIENCE, Scene, Script, text};
use crate::secure::Secure;

const CLIENTS: usize = 10_000;
/// How many of them come at once.
const AT_ONCE: usize = 50;
const MEMORY_MAX: usize = 400 << 20;

/// One at a time: the descriptors of this process are those of all tests.
static ALONE: Mutex<()> = Mutex::const_new(());

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// Descriptors for all clients, with some to spare for the tests beside this one.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let needed = CLIENTS as u64 + 2000;
    let most = limit.maximum.unwrap_or(u64::MAX);
    assert!(most >= needed, "the limit of open files is {most}: raise it to {needed} (ulimit -Hn)");
    setrlimit(Resource::Nofile, Rlimit { current: Some(most.min(100_000)), ..limit })
        .expect("up to the maximum");
}

async fn scene() -> (Scene, Secure) {
    let script = Script {
        sites: vec![("main", 1)],
        top: "limits = { connections_max = 20000, header_timeout = \"5m\", handshake_timeout = \"5m\", idle_timeout = \"1h\" }\n",
        ..Script::default()
    };
    let mut scene = Scene::set(script).await;
    let secure = Secure::add_to(&scene);
    scene.start_daemon().await;
    scene.wait_ready().await;
    (scene, secure)
}

/// One request on a kept connection.
async fn visit(stream: &mut dyn Wire) -> io::Result<()> {
    stream.write_all(&request("GET", HOST, "/", &[], b"")).await?;
    stream.flush().await?;
    let mut read = Vec::new();
    while !read.ends_with(b"main1") {
        let more =
            tokio::time::timeout(PATIENCE, stream.read_buf(&mut read)).await.map_err(io::Error::other)??;
        if more == 0 {
            return Err(io::Error::other(format!("it ended behind {}", text(&read))));
        }
    }
    if read.starts_with(b"HTTP/1.1 200 ") { Ok(()) } else { Err(io::Error::other(text(&read))) }
}

/// So many clients, each of which has been served once. They come as fast as the daemon serves them.
async fn come<C>(count: usize, connect: impl Fn() -> C) -> Vec<Box<dyn Wire>>
where
    C: Future<Output = io::Result<Box<dyn Wire>>> + Send + 'static,
{
    let (mut coming, mut here) = (JoinSet::new(), Vec::new());
    while here.len() < count {
        if here.len() + coming.len() < count && coming.len() < AT_ONCE {
            let connecting = connect();
            coming.spawn(async move {
                let mut stream = connecting.await?;
                visit(&mut *stream).await?;
                io::Result::Ok(stream)
            });
        } else if let Some(client) = coming.join_next().await {
            here.push(client.expect("no panic").expect("a connection that is served"));
        }
    }
    here
}

async fn plain(address: SocketAddr) -> io::Result<Box<dyn Wire>> {
    Ok(Box::new(TcpStream::connect(address).await?))
}

/// Bytes of memory that the daemon has in use.
fn memory(scene: &Scene) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", scene.daemon_id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel tells");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}

/// Every hundredth is served again, on the connection it has kept.
async fn assert_served(clients: &mut [Box<dyn Wire>]) {
    for client in clients.iter_mut().step_by(100) {
        visit(&mut **client).await.expect("an idle client is served again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_clients_take_less_than_400_mib() {
    let _alone = ALONE.lock().await;
    raise_descriptors();
    let (scene, _) = scene().await;
    let before = memory(&scene);
    let http = scene.http;
    let mut clients = come(CLIENTS, || plain(http)).await;
    assert_eq!(scene.metric("tidegate_client_connections", &[]).await, CLIENTS as f64);
    let taken = memory(&scene);
    println!("{CLIENTS} over HTTP: {} KiB, {} bytes each", taken >> 10, (taken - before) / CLIENTS);
    assert!(taken < MEMORY_MAX, "{} MiB", taken >> 20);
    assert_served(&mut clients).await;
    assert_eq!(
        scene.metric("tidegate_client_connections", &[]).await,
        CLIENTS as f64,
        "nobody was sent away"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_clients_over_tls_take_less_than_400_mib() {
    let _alone = ALONE.lock().await;
    raise_descriptors();
    let (scene, secure) = scene().await;
    let before = memory(&scene);
    let secure = std::sync::Arc::new(secure);
    let connect = || {
        let secure = std::sync::Arc::clone(&secure);
        async move { Ok(Box::new(secure.connect(b"http/1.1").await?) as Box<dyn Wire>) }
    };
    let mut clients = come(CLIENTS, connect).await;
    assert_eq!(scene.metric("tidegate_client_connections", &[]).await, CLIENTS as f64);
    let taken = memory(&scene);
    println!("{CLIENTS} over HTTPS: {} KiB, {} bytes each", taken >> 10, (taken - before) / CLIENTS);
    assert!(taken < MEMORY_MAX, "{} MiB", taken >> 20);
    assert_served(&mut clients).await;
}
