//! The demo, as a newcomer runs it.

use serde_json::Value;
use tokio::process::Command;

use crate::scene::{text, tidegate};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_goes_there_and_back_without_a_failed_request() {
    let output = Command::new(tidegate()).args(["demo", "--json"]).kill_on_drop(true).output();
    let output = output.await.expect("the demo runs");
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("--json prints JSON and nothing else");
    let steps = report["steps"].as_array().expect("steps are a list");
    let names: Vec<_> = steps.iter().map(|step| step["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["start", "failover", "return", "failback"]);
    for step in steps {
        assert_eq!(step["happened"], true, "{step}");
        assert_eq!((step["failed"].as_u64(), step["dns_failed"].as_u64()), (Some(0), Some(0)), "{step}");
        assert!(step["requests"].as_u64() > Some(0) && step["dns_queries"].as_u64() > Some(0), "{step}");
        assert!(step["worst_ms"].is_u64(), "{step}");
        let moves = step["name"] != "return";
        for cost in ["switch_ms", "dns_switch_ms"] {
            assert_eq!(step[cost].is_u64(), moves, "{cost} of {step}");
        }
    }
    assert!(
        steps[1]["spilled"].is_u64(),
        "what was answered ahead of the switch is told apart: {}",
        steps[1]
    );
}
