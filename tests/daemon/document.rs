//! The API as its document describes it: a validator accepts the document, schemathesis finds no answer that it does not
//! describe, and no answer says more than it does.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::api::Remote;
use crate::scene::text;

/// Most of it is spent on making up calls.
const PATIENCE: Duration = Duration::from_secs(900);

/// Python with the programs that deploy/deps.sh installs.
fn python(module: &str) -> Command {
    let tools = std::env::var_os("TIDEGATE_TOOLS").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").expect("there is a home")).join(".cache/tidegate/tools")
    });
    let programs = tools.join("schemathesis");
    assert!(programs.exists(), "{} is not there: run deploy/deps.sh test", programs.display());
    let mut command = Command::new("python3");
    command.args(["-m", module]).env("PYTHONPATH", programs).stdin(Stdio::null()).kill_on_drop(true);
    command
}

fn repository(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file)
}

async fn run(mut command: Command) -> (bool, String) {
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends in time");
    let output = output.expect("python3 runs");
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

#[tokio::test]
async fn a_validator_accepts_the_document() {
    let mut command = python("openapi_spec_validator");
    command.arg(repository("docs/openapi.json"));
    let (accepted, said) = run(command).await;
    assert!(accepted, "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_nothing() {
    let remote = Remote::play().await;
    let token = remote.token("schemathesis", "admin").await;
    // It is not told that there are tokens: calls without one would count as failures, and then all of them be put off.
    let served = remote.call(&token, "GET", "/api/v1/openapi.json", "").await;
    let mut document: Value = serde_json::from_str(&served.body).expect("JSON");
    document["security"] = Value::Array(Vec::new());
    let components = document["components"].as_object_mut().expect("an object");
    components.remove("securitySchemes").expect("there are tokens");
    remote.scene().write("openapi.json", &document.to_string());
    let mut command = python("schemathesis.cli");
    command.arg("--config-file").arg(repository("tests/schemathesis.toml"));
    command.arg("run").arg(remote.scene().path("openapi.json"));
    command.args(["--url", &format!("http://{}", remote.api())]);
    // It keeps what it has learned where it runs.
    command.current_dir(remote.scene().path("")).env("TIDEGATE_TOKEN", &token);
    let (found_nothing, said) = run(command).await;
    assert!(found_nothing, "{said}");
    let generated = said.lines().find_map(|line| line.trim().split_once(" generated")?.0.parse::<u32>().ok());
    assert!(generated.is_some_and(|count| count > 300), "it has tried something: {said}");
    assert!(!remote.scene().daemon_log().contains("panicked"));
    assert!(!remote.scene().daemon_log().contains(&token));
    assert_eq!(remote.scene().get("/healthz").await, Some((200, "ok\n".into())));
}

/// The members of `answer` that `schema` does not name.
fn undescribed(document: &Value, schema: &Value, answer: &Value, at: &str) -> Vec<String> {
    let schema = match schema["$ref"].as_str() {
        Some(name) => document.pointer(name.trim_start_matches('#')).expect("what is referred to is there"),
        None => schema,
    };
    if let Some(choices) = schema["oneOf"].as_array() {
        let found = choices.iter().map(|choice| undescribed(document, choice, answer, at));
        return found.min_by_key(Vec::len).unwrap_or_default();
    }
    match answer {
        Value::Array(items) => items
            .iter()
            .flat_map(|item| undescribed(document, &schema["items"], item, &format!("{at}[]")))
            .collect(),
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, value)| {
                let at = format!("{at}.{name}");
                let rest = &schema["additionalProperties"];
                match schema["properties"].get(name).or(rest.is_object().then_some(rest)) {
                    Some(schema) => undescribed(document, schema, value, &at),
                    None => vec![at],
                }
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Schemathesis lets answers say more than the document; a client that is made from it would not see that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_says_what_the_document_does_not() {
    let remote = Remote::play().await;
    remote.scene().wait_fitness("dr", "fit").await;
    let token = remote.token("root", "admin").await;
    let because = r#"{"reason": "to have something to show"}"#;
    let drain =
        r#"{"action": "drain", "scope": "site", "pattern": "third", "for": "1ms", "reason": "old disks"}"#;
    let switch = r#"{"to": "dr", "reason": "to have moved"}"#;
    let document = remote.call(&token, "GET", "/api/v1/openapi.json", "").await;
    let document: Value = serde_json::from_str(&document.body).expect("JSON");
    let calls = [
        ("POST", "/api/v1/forces", "/api/v1/forces", drain),
        ("POST", "/api/v1/groups/{group}/switch", "/api/v1/groups/app/switch", switch),
        ("POST", "/api/v1/groups/{group}/freeze", "/api/v1/groups/app/freeze", because),
        ("POST", "/api/v1/reload", "/api/v1/reload", ""),
        ("GET", "/api/v1/status", "/api/v1/status", ""),
        ("GET", "/api/v1/groups/{group}/explain", "/api/v1/groups/app/explain", ""),
        ("GET", "/api/v1/history", "/api/v1/history?all=true&limit=10000", ""),
        ("GET", "/api/v1/tokens", "/api/v1/tokens", ""),
    ];
    for (method, path, target, body) in calls {
        let answer = remote.call(&token, method, target, body).await;
        assert_eq!(answer.code, 200, "{method} {target}: {}", answer.body);
        let answer: Value = serde_json::from_str(&answer.body).expect("JSON");
        let operation = &document["paths"][path][method.to_lowercase()];
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{method} {path} is described");
        assert_eq!(undescribed(&document, schema, &answer, target), [""; 0]);
    }
    let made_up: Value =
        serde_json::from_str(r#"{"groups": [{"name": "app", "sites": [{"colour": 1}]}]}"#).expect("JSON");
    let status = &document["components"]["schemas"]["Status"];
    assert_eq!(undescribed(&document, status, &made_up, "it"), ["it.groups[].sites[].colour"]);
}
