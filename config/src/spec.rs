//! The raw shape of a configuration, version 1: every key with its type, default and bounds.
//!
//! A table is declared once, with [`spec!`]: that gives the struct, its reading, the list of known keys, and the
//! text of the reference. What a table cannot know alone (whether a name exists, whether two keys fit together) is
//! for the lowering.

mod check;
mod front;
mod gate;
mod group;
mod notify;
mod origin;
mod root;
mod rule;
mod service;
mod site;
mod value;
mod zone;

pub(crate) use check::{CheckKind, CheckSpec, KINDS};
pub(crate) use front::{CertificateSpec, ClientAddressSpec, LimitsSpec, ListenSpec};
pub(crate) use gate::{GateHttpSpec, GateSpec};
pub(crate) use group::{FailbackSpec, GroupSpec, SwitchesSpec};
pub use notify::{HeartbeatMethod, SmtpTls};
pub(crate) use notify::{HeartbeatSpec, NotifySpec, SmtpSpec, WebhookSpec};
pub(crate) use origin::{
    ClientCertificateSpec, OriginSpec, OriginUrl, TlsSpec, UrlHost, UrlScheme, VerifySpec,
};
pub(crate) use root::{HistorySpec, NodeSpec, ResolverSpec, RootSpec};
pub(crate) use rule::RuleSpec;
pub(crate) use service::{EjectionSpec, HstsSpec, RetrySpec, ServiceSpec, TimeoutsSpec};
pub(crate) use site::{FrontDoorCheckSpec, SiteSpec};
pub(crate) use value::name_fault;
pub(crate) use zone::{SteerSpec, ZoneSpec};

use crate::reader::Key;

/// One table of the reference.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// As it is written: `group.NAME`.
    pub table: &'static str,
    /// Lines of Markdown.
    pub about: &'static [&'static str],
    pub keys: &'static [Key],
}

/// Every table and key, for the configuration reference.
#[must_use]
pub fn reference() -> Vec<Section> {
    vec![
        RootSpec::SECTION,
        NodeSpec::SECTION,
        ListenSpec::SECTION,
        CertificateSpec::SECTION,
        ClientAddressSpec::SECTION,
        LimitsSpec::SECTION,
        HistorySpec::SECTION,
        ResolverSpec::SECTION,
        root::EtcdSpec::SECTION,
        root::EtcdMemberSpec::SECTION,
        NotifySpec::SECTION,
        WebhookSpec::SECTION,
        SmtpSpec::SECTION,
        HeartbeatSpec::SECTION,
        SiteSpec::SECTION,
        FrontDoorCheckSpec::SECTION,
        GroupSpec::SECTION,
        group::AutomaticFailbackSpec::SECTION,
        SwitchesSpec::SECTION,
        group::HookSpec::SECTION,
        GateSpec::SECTION,
        RuleSpec::SECTION,
        ServiceSpec::SECTION,
        CheckSpec::SECTION,
        TimeoutsSpec::SECTION,
        RetrySpec::SECTION,
        EjectionSpec::SECTION,
        HstsSpec::SECTION,
        OriginSpec::SECTION,
        TlsSpec::SECTION,
        origin::CaSpec::SECTION,
        ClientCertificateSpec::SECTION,
        ZoneSpec::SECTION,
        SteerSpec::SECTION,
    ]
}

/// Declares a table: `required`, `optional` or `pending`, the key, the type and how it is read.
macro_rules! spec {
    (
        $(#[doc = $about:literal])*
        struct $name:ident in $table:literal {
            $(
                $(#[doc = $doc:literal])*
                $usage:ident $key:ident: $ty:ty = $read:expr,
            )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, Default)]
        #[allow(dead_code, reason = "what has no effect yet is read and checked, but not used")]
        pub(crate) struct $name {
            pub(crate) place: $crate::source::Place,
            $( $(#[doc = $doc])* pub(crate) $key: Option<$crate::source::At<$ty>>, )*
        }

        impl $name {
            pub(crate) const SECTION: $crate::spec::Section = $crate::spec::Section {
                table: $table,
                about: &[$($about),*],
                keys: &[$(
                    $crate::reader::Key {
                        name: stringify!($key),
                        usage: $crate::spec::usage!($usage),
                        about: &[$($doc),*],
                    },
                )*],
            };

            pub(crate) fn read(field: &$crate::reader::Field<'_>) -> Option<Self> {
                let table = field.table()?;
                table.deny_unknown(Self::SECTION.keys);
                Some(Self {
                    $( $key: table.take(stringify!($key), $crate::spec::usage!($usage), $read), )*
                    place: table.place,
                })
            }
        }
    };
}

macro_rules! usage {
    (required) => {
        $crate::reader::Use::Required
    };
    (optional) => {
        $crate::reader::Use::Optional
    };
    (pending) => {
        $crate::reader::Use::Pending
    };
}

pub(crate) use {spec, usage};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_and_key_is_documented_once() {
        let sections = reference();
        for section in &sections {
            assert!(!section.about.is_empty(), "{}", section.table);
            assert_eq!(sections.iter().filter(|other| other.table == section.table).count(), 1);
            for key in section.keys {
                assert!(!key.about.is_empty(), "{}.{}", section.table, key.name);
                assert_eq!(section.keys.iter().filter(|other| other.name == key.name).count(), 1);
            }
        }
    }
}
