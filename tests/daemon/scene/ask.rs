//! Asking the daemon of a scene: its listeners, its command line, its API.

use super::*;

impl Scene {
    /// A GET of the admin listener.
    pub(crate) async fn get(&self, path: &str) -> Option<(u16, String)> {
        let answer =
            crate::client::exchange(self.admin, &crate::client::request("GET", "admin", path, &[], b""))
                .await
                .ok()?;
        Some((answer.code, answer.body))
    }

    /// One call of the admin listener.
    pub(crate) async fn admin(&self, method: &str, path: &str, body: &str) -> Answer {
        let json = [("Content-Type", "application/json")];
        let request = crate::client::request(method, "admin", path, &json, body.as_bytes());
        crate::client::exchange(self.admin, &request).await.expect("the admin listener answers")
    }

    pub(crate) async fn metrics(&self) -> String {
        let (code, text) = self.get("/metrics").await.expect("the daemon serves metrics");
        assert_eq!(code, 200);
        text
    }

    /// The sum of a metric over all of its series that have every one of `labels`.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let text = self.metrics().await;
        let wanted: Vec<_> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
        text.lines()
            .filter(|line| line.starts_with(name) && line[name.len()..].starts_with(['{', ' ']))
            .filter(|line| wanted.iter().all(|label| line.contains(label)))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Runs the command line against the daemon.
    pub(crate) async fn cli(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().await.expect("the command line runs")
    }

    /// The command line, ready to run against the daemon.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(tidegate());
        command.args(arguments).env("TIDEGATE_SOCKET", self.socket()).env_remove("SUDO_USER");
        command
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Says that the configuration has the control socket elsewhere.
    pub(crate) fn move_socket(&mut self, path: PathBuf) {
        self.socket = path;
    }

    /// Runs the command line with `--json`; it must succeed.
    pub(crate) async fn json(&self, arguments: &[&str]) -> Value {
        let output = self.cli(&[arguments, &["--json"]].concat()).await;
        assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("--json prints JSON")
    }

    /// An order over the API, without the command line in between; it must be carried out.
    pub(crate) async fn post(&self, verb: &str, body: &str) -> Value {
        let (code, text) = self.api("POST", &format!("/api/v1/groups/app/{verb}"), body).await;
        assert_eq!(code, 200, "{text}");
        serde_json::from_str(&text).expect("the API answers in JSON")
    }

    /// One call of the API over the control socket.
    pub(crate) async fn api(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream =
            tokio::net::UnixStream::connect(self.socket()).await.expect("the control socket is there");
        let json = [("Content-Type", "application/json"), ("Connection", "close")];
        let request = crate::client::request(method, "tidegate", path, &json, body.as_bytes());
        stream.write_all(&request).await.expect("the daemon reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("the daemon answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        (code, body.to_owned())
    }

    /// Changes how an origin behaves.
    pub(crate) async fn mode(&self, origin: &str, mode: &str) {
        let request = crate::client::request("PUT", "origin", "/_mode", &[], mode.as_bytes());
        let answer =
            crate::client::exchange(self.origins[origin].addr, &request).await.expect("the origin answers");
        assert_eq!(answer.code, 204);
    }

    /// Whether an origin has begun to execute the request with this id.
    pub(crate) fn has_executed(&self, id: &str) -> bool {
        self.executed().contains_key(id)
    }

    /// What the daemon thinks of a site: `fit`, `unfit` or `unknown`.
    pub(crate) async fn fitness(&self, site: &str) -> String {
        let status = self.json(&["status"]).await;
        let sites = status["groups"][0]["sites"].as_array().expect("sites are a list");
        let site = sites.iter().find(|found| found["name"] == site).expect("the scene has this site");
        site["fitness"].as_str().expect("fitness is a word").to_owned()
    }

    pub(crate) async fn wait_fitness(&self, site: &str, fitness: &str) {
        self.eventually(&format!("{site} is {fitness}"), async || self.fitness(site).await == fitness).await;
    }

    /// The group's history, the newest first.
    pub(crate) async fn history(&self) -> Vec<Value> {
        let history = self.json(&["history", "app", "-n", "10000"]).await;
        history.as_array().expect("a list").clone()
    }

    /// Where the group is active.
    pub(crate) async fn active(&self) -> Option<String> {
        let status = self.json(&["status"]).await;
        status["groups"][0]["active"].as_str().map(str::to_owned)
    }

    pub(crate) async fn wait_active(&self, site: &str) {
        self.eventually(&format!("the group is active at {site}"), async || {
            self.active().await.as_deref() == Some(site)
        })
        .await;
    }

    /// The labels of everything that keeps the group from moving.
    pub(crate) async fn stops(&self) -> Vec<String> {
        let explanation = self.json(&["explain", "app"]).await;
        let stops = explanation["stops"].as_array().expect("stops are a list").iter();
        stops.map(|stop| stop["label"].as_str().expect("a label is text").to_owned()).collect()
    }

    /// The front door of a site.
    pub(crate) fn door(&self, site: &str) -> String {
        let number = self.sites.iter().position(|name| *name == site).expect("the scene has this site");
        format!("192.0.2.{}", number + 1)
    }
}
