//! `tidegate check`: is this configuration usable, and is it wise?

use std::path::Path;

use serde_json::json;
use tidegate_config::{Diagnostic, Severity, render};

use super::{DONE, complain, show};
use crate::load::{self, LoadError};

pub(super) fn run(path: &Path, as_json: bool) -> u8 {
    match load::load(path) {
        Ok(loaded) => {
            if as_json {
                let warnings: Vec<_> = loaded.warnings.iter().map(shape).collect();
                return show(&format!("{:#}", json!({ "ok": true, "findings": warnings })));
            }
            for warning in &loaded.warnings {
                show(&render(warning, &path.display().to_string(), &loaded.text));
            }
            let fleet = &loaded.config.fleet;
            show(&format!(
                "{}: ok, {} warnings; {} sites, {} groups, {} services, {} origins, {} zones",
                path.display(),
                loaded.warnings.len(),
                fleet.sites.len(),
                fleet.groups.len(),
                fleet.services.len(),
                fleet.origins.len(),
                loaded.zones.len()
            ));
            DONE
        }
        Err(error) => {
            if as_json {
                let findings: Vec<_> = match &error {
                    LoadError::Config(found) => found.errors().iter().map(shape).collect(),
                    other => vec![json!({ "severity": "error", "message": other.to_string() })],
                };
                show(&format!("{:#}", json!({ "ok": false, "findings": findings })));
            } else if let LoadError::Config(found) = &error {
                show(&found.to_string());
                let count = found.errors().len();
                complain(&format!("{}: {count} errors; nothing was changed", path.display()));
            } else {
                complain(&error.to_string());
            }
            error.exit_code()
        }
    }
}

fn shape(found: &Diagnostic) -> serde_json::Value {
    json!({
        "severity": match found.severity { Severity::Error => "error", Severity::Warning => "warning" },
        "line": found.line,
        "column": found.column,
        "key": found.path,
        "message": found.message,
        "help": found.help,
    })
}
