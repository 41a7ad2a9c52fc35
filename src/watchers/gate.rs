//! What a gate's program or URL says.

use std::time::Duration;

use tidegate_health::gate::{Reading, Value, Verdict};
use tidegate_health::id::Name;
use tidegate_probe::command::{Command, End, Ran};

use super::Subject;
use super::fetch::Answer;
use super::sighting::Seen;
use crate::world::Worlds;

/// Longest text that is compared or shown.
const WORD_CHARS_MAX: usize = 200;

/// The program with what it has to know.
pub(super) fn with_surroundings(command: &Command, subject: &Subject, worlds: &Worlds) -> Command {
    let Subject::Gate { group, site, gate } = subject else { return command.clone() };
    let command = command
        .clone()
        .with_env("TIDEGATE_GROUP", group)
        .with_env("TIDEGATE_SITE", site)
        .with_env("TIDEGATE_GATE", gate);
    match worlds.load().active_site(group) {
        Some(active) => command.with_env("TIDEGATE_ACTIVE", &active),
        None => command,
    }
}

/// Exit codes as checks of Nagios and its kin have them, where a warning is no pass.
pub(super) fn judge(ran: &Ran, wants_value: bool, timeout: Duration) -> Seen {
    let line = ran.line();
    let verdict = |verdict, text: Option<String>| Seen::Gate(Reading::Verdict(verdict), text.map(Name::from));
    let after = |what: String| line.as_ref().map_or_else(|| what.clone(), |line| format!("{what}: {line}"));
    match &ran.how {
        End::Exited(0) if wants_value => {
            let printed = String::from_utf8_lossy(&ran.stdout.bytes);
            match printed.lines().map(str::trim).find(|line| !line.is_empty()) {
                Some(text) => Seen::Gate(Reading::Value(value_of(text)), None),
                None => Seen::unknown("its program printed no value"),
            }
        }
        End::Exited(0) => verdict(Verdict::Pass, line),
        End::Exited(code @ (1 | 2)) => verdict(Verdict::Fail, Some(after(format!("exit code {code}")))),
        End::Exited(code) => verdict(Verdict::Unknown, Some(after(format!("exit code {code}")))),
        End::Signalled(signal) => {
            verdict(Verdict::Unknown, Some(after(format!("its program was killed by signal {signal}"))))
        }
        End::TimedOut => Seen::unknown(format!("its program took longer than {} ms", timeout.as_millis())),
        End::CannotStart(error) => Seen::unknown(format!("its program cannot be started: {error}")),
    }
}

/// The status says it, or with `pointer` (RFC 6901) the value there in the JSON body.
pub(super) fn judge_answer(answer: Result<Answer, String>, pointer: Option<&str>) -> Seen {
    let Answer { status, body } = match answer {
        Ok(answer) => answer,
        Err(why) => return Seen::unknown(why),
    };
    let is_good = (200..=299).contains(&status);
    let Some(pointer) = pointer else {
        let verdict = if is_good { Verdict::Pass } else { Verdict::Fail };
        return Seen::Gate(Reading::Verdict(verdict), Some(format!("status {status}").into()));
    };
    if !is_good {
        return Seen::unknown(format!("status {status}, and no value"));
    }
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(&body) else {
        return Seen::unknown("the answer is no JSON");
    };
    match json.pointer(pointer) {
        Some(serde_json::Value::Number(number)) => match number.as_f64() {
            Some(number) => Seen::Gate(Reading::Value(Value::Number(number)), None),
            None => Seen::unknown("the number in the answer is out of all bounds"),
        },
        Some(serde_json::Value::String(text)) => Seen::Gate(Reading::Value(Value::Word(plain(text))), None),
        Some(serde_json::Value::Bool(is)) => {
            Seen::Gate(Reading::Value(Value::Word(is.to_string().into())), None)
        }
        Some(_) => Seen::unknown(format!("what is at `{pointer}` in the answer is no value")),
        None => Seen::unknown(format!("the answer has nothing at `{pointer}`")),
    }
}

/// A number where it is one, else text.
fn value_of(text: &str) -> Value {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Value::Number(number),
        _ => Value::Word(plain(text)),
    }
}

/// A text that shows as what it is, in a terminal and in a log.
pub(crate) fn plain(text: &str) -> Name {
    text.chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .take(WORD_CHARS_MAX)
        .collect::<String>()
        .into()
}

#[cfg(test)]
mod tests {
    use tidegate_probe::command::Output;

    use super::*;

    fn ran(how: End, stdout: &str) -> Ran {
        let output = |text: &str| Output { bytes: text.as_bytes().to_vec(), cut: false };
        Ran { how, stdout: output(stdout), stderr: output("") }
    }

    fn told(how: End, stdout: &str, wants_value: bool) -> (Reading, String) {
        match judge(&ran(how, stdout), wants_value, Duration::from_millis(500)) {
            Seen::Gate(reading, detail) => (reading, detail.as_deref().unwrap_or_default().to_owned()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_exit_code_is_a_verdict() {
        let table = [
            (End::Exited(0), Verdict::Pass, "word"),
            (End::Exited(1), Verdict::Fail, "exit code 1: word"),
            (End::Exited(2), Verdict::Fail, "exit code 2: word"),
            (End::Exited(3), Verdict::Unknown, "exit code 3: word"),
            (End::Exited(127), Verdict::Unknown, "exit code 127: word"),
            (End::Signalled(9), Verdict::Unknown, "its program was killed by signal 9: word"),
            (End::TimedOut, Verdict::Unknown, "its program took longer than 500 ms"),
        ];
        for (how, verdict, detail) in table {
            let shown = format!("{how:?}");
            assert_eq!(told(how, "word\n", false), (Reading::Verdict(verdict), detail.to_owned()), "{shown}");
        }
        let (reading, why) = told(End::CannotStart(std::io::ErrorKind::NotFound.into()), "", false);
        assert_eq!(reading, Reading::Verdict(Verdict::Unknown));
        assert!(why.starts_with("its program cannot be started"), "{why}");
    }

    #[test]
    fn a_printed_value_is_a_number_where_it_is_one() {
        let value = |text: &str| told(End::Exited(0), text, true).0;
        assert_eq!(value("\n 3.5 \nmore"), Reading::Value(Value::Number(3.5)));
        assert_eq!(value("-1"), Reading::Value(Value::Number(-1.0)));
        assert_eq!(value("in recovery"), Reading::Value(Value::Word("in recovery".into())));
        assert_eq!(value("NaN"), Reading::Value(Value::Word("NaN".into())));
        assert_eq!(value("a\x1b[31m"), Reading::Value(Value::Word("a [31m".into())));
        assert_eq!(value(" \n"), Reading::Verdict(Verdict::Unknown));
        assert_eq!(told(End::Exited(1), "7", true).0, Reading::Verdict(Verdict::Fail));
    }

    #[test]
    fn an_answer_says_it_by_its_status_or_by_the_value_where_the_pointer_leads() {
        let told = |status, body: &str, pointer| match judge_answer(
            Ok(Answer { status, body: body.as_bytes().to_vec().into() }),
            pointer,
        ) {
            Seen::Gate(reading, _) => reading,
            other => panic!("{other:?}"),
        };
        let verdict = Reading::Verdict;
        assert_eq!(told(200, "", None), verdict(Verdict::Pass));
        assert_eq!(told(299, "", None), verdict(Verdict::Pass));
        assert_eq!(told(300, "", None), verdict(Verdict::Fail));
        assert_eq!(told(503, "", None), verdict(Verdict::Fail));
        let body =
            r#"{"replication": [{"lag": 0.25, "role": "replica", "ok": true, "none": null}], "a/b": 7}"#;
        let at = |pointer| told(200, body, Some(pointer));
        assert_eq!(at("/replication/0/lag"), Reading::Value(Value::Number(0.25)));
        assert_eq!(at("/replication/0/role"), Reading::Value(Value::Word("replica".into())));
        assert_eq!(at("/replication/0/ok"), Reading::Value(Value::Word("true".into())));
        assert_eq!(at("/a~1b"), Reading::Value(Value::Number(7.0)));
        assert_eq!(told(200, "12", Some("")), Reading::Value(Value::Number(12.0)));
        for pointer in ["/replication/1/lag", "/replication/0/none", "/replication", "/nothing"] {
            assert_eq!(at(pointer), verdict(Verdict::Unknown), "{pointer}");
        }
        assert_eq!(told(500, "12", Some("")), verdict(Verdict::Unknown));
        assert_eq!(told(200, "<html>", Some("")), verdict(Verdict::Unknown));
        assert_eq!(judge_answer(Err("refused".into()), None), Seen::unknown("refused"));
    }
}
