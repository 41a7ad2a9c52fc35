//! What a person is told about a configuration.

use std::fmt::Write as _;

use tidegate_config::{Parsed, parse, render};

/// A configuration that is valid and without danger, for tests that change one thing.
const VALID: &str = include_str!("valid.toml");

fn warnings(file: &str, text: &str) -> String {
    let Parsed { warnings, .. } = parse(file, text).unwrap_or_else(|errors| panic!("{errors}"));
    warnings.iter().fold(String::new(), |mut out, warning| {
        let _ = writeln!(out, "{}", render(warning, file, text));
        out
    })
}

fn errors(text: &str) -> String {
    match parse("t.toml", text) {
        Ok(_) => panic!("there must be an error in\n{text}"),
        Err(errors) => errors.to_string(),
    }
}

#[test]
fn every_error_of_a_broken_file_is_shown_at_once() {
    insta::assert_snapshot!(errors(include_str!("broken.toml")));
}

#[test]
fn an_origin_that_is_only_an_address_is_told_how_it_is_written() {
    let origin = "http://192.0.2.1:80";
    let told = errors(&format!("{VALID}\n[service.other]\norigins.main = [\"{origin}\"]\n"));
    assert!(told.contains(&format!("help: write {{ url = \"{origin}\" }}")), "{told}");
}

#[test]
fn the_design_is_accepted_with_these_warnings() {
    insta::assert_snapshot!(warnings("design.toml", include_str!("design.toml")));
}

#[test]
fn a_careful_configuration_has_no_warning() {
    assert_eq!(warnings("valid.toml", VALID), "");
}

#[test]
fn every_danger_is_warned_of() {
    insta::assert_snapshot!(warnings("dangers.toml", include_str!("dangers.toml")));
}

/// gdnsd ignored misspelt keys in places, and what they should have said was not done.
#[test]
fn gdnsd_90_unknown_keys_are_errors() {
    let tables = [
        "",
        "[node]",
        "[listen]",
        "[limits]",
        "[client_address]",
        "[site.main]",
        "[group.app]",
        "[service.web]",
        "[service.web.check]",
        "[zone.\"example.com\"]",
    ];
    for table in tables {
        let text = match table {
            "" => format!("unheard_of = 1\n{VALID}"),
            _ if VALID.contains(table) => VALID.replacen(table, &format!("{table}\nunheard_of = 1"), 1),
            _ => format!("{VALID}\n{table}\nunheard_of = 1\n"),
        };
        let found = parse("t.toml", &text).map(|_| ()).expect_err(table);
        let [error] = found.errors() else { panic!("one error expected for {table}:\n{found}") };
        assert_eq!(error.message, "unknown key `unheard_of`", "{table}");
        assert_eq!(&text[error.span.clone()], "unheard_of");
    }
}

#[test]
fn a_syntax_error_has_a_place() {
    insta::assert_snapshot!(errors("[node]\nname = \"edge\nsite = \"main\"\n"));
    insta::assert_snapshot!(errors("[node]\nname = \"a\"\nname = \"b\"\n[site.main]\n[site.main]\n"));
}

#[test]
fn carets_stand_below_what_they_mean() {
    // Tabs, a name that is not ASCII before the place, a long line, and a value of several lines.
    insta::assert_snapshot!(errors("[listen]\n\t\thttp =\t[\"nowhere\"]\n"));
    insta::assert_snapshot!(errors("[site.main]\nlabel = \"Köln\"\nprovides = [ \"é\" ]\n"));
    let names = |from: u32| (from..from + 30).map(|i| format!("\"c{i}\", ")).collect::<String>();
    let long = format!("capabilities = [1, {}2, {}3]\n", names(100), names(200));
    insta::assert_snapshot!(errors(&long));
    insta::assert_snapshot!(errors(&format!("first_start = \"{}\"\n", "x".repeat(300))));
    // Nothing quoted from the text can speak to the terminal.
    insta::assert_snapshot!(errors("first_start = \"\\u001b[2J\\n\"\n"));
    insta::assert_snapshot!(errors("state_dir = [\n  \"a\",\n  \"b\",\n]\n"));
}

#[test]
fn an_empty_file_is_a_configuration_that_does_nothing() {
    let parsed = parse("t.toml", "").expect("nothing is required");
    assert_eq!(parsed.config.state_dir.to_str(), Some("/var/lib/tidegate"));
    assert!(parsed.config.fleet.groups.is_empty());
    assert!(parsed.warnings.is_empty());
}
