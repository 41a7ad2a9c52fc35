//! Targets that a reload has replaced or removed, for as long as they may have work: a machine is not safe to power off
//! while what stood for it before is busy.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tidegate_proxy::Target;

/// By name, since publications and status ask for those of every origin.
#[derive(Default)]
pub(super) struct Leaving(HashMap<Arc<str>, Vec<Arc<Target>>>);

impl Leaving {
    /// Takes in those of `before` that are not among `kept`.
    pub(super) fn take(&mut self, before: Vec<Arc<Target>>, kept: &[Arc<Target>]) {
        let kept: HashSet<_> = kept.iter().map(Arc::as_ptr).collect();
        for target in before.into_iter().filter(|target| !kept.contains(&Arc::as_ptr(target))) {
            self.0.entry(target.name().clone()).or_default().push(target);
        }
    }

    /// Those that stood for an origin of this name.
    pub(super) fn of(&self, name: &Arc<str>) -> &[Arc<Target>] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    pub(super) fn forget_quiet(&mut self) {
        self.0.retain(|_, targets| {
            targets.retain(|target| !target.is_quiet());
            !targets.is_empty()
        });
    }
}
