//! What is said of origins beside the results of their checks: reports of others, and warnings.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_health::id::{Name, OriginId};
use tidegate_probe::{Observation, Outcome, Report};

use super::Control;

/// Why reports do not count. None of those that came together does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotHeard {
    /// Whose report it was.
    pub origin: Name,
    /// None: there is no such origin.
    pub why: Option<tidegate_probe::NotHeard>,
}

/// Origins whose checks warn, with what they say. At most one per origin.
pub(super) type Warnings = HashMap<OriginId, Arc<str>>;

impl Control {
    /// Hands reports to the checks that wait for them.
    pub(super) fn hear(&mut self, reports: Vec<(Name, Report)>) -> Result<(), NotHeard> {
        let fleet = &self.plan.fleet;
        let mut numbered = Vec::with_capacity(reports.len());
        for (origin, report) in reports {
            let Some(id) = fleet.origin_named(&origin) else { return Err(NotHeard { origin, why: None }) };
            numbered.push((id, report));
        }
        self.probes
            .report(numbered)
            .map_err(|(id, why)| NotHeard { origin: fleet.origin(id).name.clone(), why: Some(why) })
    }

    /// Tells people what a check noticed, once.
    pub(super) fn heed(&mut self, observation: &Observation) {
        // Without a result and without a word nothing was learnt, whether it goes on warning included.
        let is_mute = self.warnings.is_empty() || matches!(observation.outcome, Outcome::Inconclusive(_));
        if observation.note.is_none() && is_mute {
            return;
        }
        let (fleet, id) = (&self.plan.fleet, observation.origin);
        let note = observation.note.as_deref();
        if let Some(end) = note.and_then(|note| note.certificate_ends) {
            self.metrics.certificate_of(fleet, id, end);
        }
        let warning = note.and_then(|note| note.warning.clone());
        let is_warning = warning.is_some();
        let origin = &*fleet.origin(id).name;
        let was = match &warning {
            Some(warning) => self.warnings.insert(id, warning.clone()),
            None => self.warnings.remove(&id),
        };
        if was == warning {
            return;
        }
        self.metrics.check_warns(fleet, id, is_warning);
        match warning {
            Some(warning) => tracing::warn!(origin, "a check warns: {warning}"),
            None => tracing::info!(origin, "a check warns no longer"),
        }
    }
}
