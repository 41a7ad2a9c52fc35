//! One node that decides alone: its own store, and nobody to hear from.

use tidegate_health::cluster::News;
use tidegate_health::vantage::View;

use super::{Coordinator, Pending};
use crate::store::{Before, Change, Store, StoreError};

/// Guards nothing, for nobody else writes: there is one daemon to a store, and one control task in it.
#[derive(Debug)]
pub struct Local {
    store: Store,
}

impl Local {
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

impl Coordinator for Local {
    fn commit(&self, change: Change, before: Before) -> Pending<Result<(), StoreError>> {
        let store = self.store.clone();
        Box::pin(async move { store.write(change, before).await })
    }

    fn news(&self) -> Pending<News> {
        Box::pin(std::future::pending())
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn publish(&self, _view: View) {}
}
