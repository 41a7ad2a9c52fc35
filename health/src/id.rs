//! Identities inside one fleet.
//!
//! A configuration is lowered into vectors; these are their indices. They are only meaningful together with the
//! [`Fleet`](crate::fleet::Fleet) they were made for: what outlives a fleet (the store, the history, the API)
//! speaks in names.

use std::fmt;
use std::sync::Arc;

/// A configured name. Cheap to clone, compared by text.
pub type Name = Arc<str>;

macro_rules! index {
    ($(#[$doc:meta])* $name:ident($raw:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $raw);

        impl $name {
            /// The position in the fleet's vector.
            #[must_use]
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "#{}"), self.0)
            }
        }
    };
}

index!(
    /// A place that can serve.
    SiteId(u16)
);
index!(
    /// Services that move together because they share data.
    GroupId(u16)
);
index!(
    /// What is served.
    ServiceId(u16)
);
index!(
    /// One address at a site that serves one service.
    OriginId(u32)
);
