//! The rules of the house, held against the house: who may import whom.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

/// Folders of the workspace in order of the DAG; each may use the ones named, and no other.
const DAG: [(&str, &[&str]); 6] = [
    ("tidegate-health", &[]),
    ("tidegate-config", &["tidegate-health"]),
    ("tidegate-probe", &["tidegate-health"]),
    ("tidegate-dns", &["tidegate-health"]),
    ("tidegate-proxy", &["tidegate-health"]),
    ("tidegate", &["tidegate-health", "tidegate-config", "tidegate-probe", "tidegate-dns", "tidegate-proxy"]),
];

/// Crates through which a pure core would reach the world.
const WORLD: [&str; 14] = [
    "async-io",
    "async-std",
    "axum",
    "h2",
    "hyper",
    "libc",
    "mio",
    "nix",
    "pingora-core",
    "reqwest",
    "rustix",
    "smol",
    "socket2",
    "tokio",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn metadata() -> Metadata {
    // Only what this machine builds with is on it.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let options = ["--locked", "--offline", "--filter-platform", &platform].map(str::to_owned);
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml")).other_options(options);
    command.exec().expect("cargo metadata answers")
}

/// The names of a package's dependencies, of this kind.
fn direct(metadata: &Metadata, name: &str, kinds: &[DependencyKind]) -> BTreeSet<String> {
    let packages = metadata.workspace_packages();
    let package = packages.iter().find(|package| *package.name == name).expect("a member of the workspace");
    let wanted = package.dependencies.iter().filter(|dependency| kinds.contains(&dependency.kind));
    wanted.map(|dependency| dependency.name.clone()).collect()
}

/// Everything that a package links, tests and build scripts aside.
fn linked(metadata: &Metadata, name: &str) -> BTreeSet<String> {
    let names: BTreeMap<&PackageId, &str> =
        metadata.packages.iter().map(|package| (&package.id, package.name.as_str())).collect();
    let nodes = &metadata.resolve.as_ref().expect("the graph is resolved").nodes;
    let start = nodes.iter().find(|node| names[&node.id] == name).expect("a package of the graph");
    let (mut seen, mut next) = (BTreeSet::new(), VecDeque::from([&start.id]));
    while let Some(id) = next.pop_front() {
        let node = nodes.iter().find(|node| &node.id == id).expect("a package of the graph");
        for dependency in &node.deps {
            let normal = dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
            if normal && seen.insert(&dependency.pkg) {
                next.push_back(&dependency.pkg);
            }
        }
    }
    seen.iter().map(|id| names[id].to_owned()).collect()
}

#[test]
fn imports_are_the_dag_of_the_design() {
    let metadata = metadata();
    let members: BTreeSet<String> =
        metadata.workspace_packages().iter().map(|package| package.name.to_string()).collect();
    let drawn: BTreeSet<String> = DAG.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(members, drawn, "a new crate needs its place in the DAG");
    for (name, allowed) in DAG {
        let all = [DependencyKind::Normal, DependencyKind::Build, DependencyKind::Development];
        let used: BTreeSet<String> = direct(&metadata, name, &all).intersection(&members).cloned().collect();
        let allowed: BTreeSet<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
        assert!(used.is_subset(&allowed), "{name} uses {:?}", used.difference(&allowed).collect::<Vec<_>>());
    }
    let all: BTreeSet<String> = members.iter().filter(|name| *name != "tidegate").cloned().collect();
    let used = direct(&metadata, "tidegate", &[DependencyKind::Normal]);
    assert!(used.is_superset(&all), "the daemon is made of all of them");
}

#[test]
fn the_core_links_nothing_that_reaches_the_world() {
    let metadata = metadata();
    let linked = linked(&metadata, "tidegate-health");
    assert!(linked.contains("serde"), "the graph is followed: {linked:?}");
    let found: Vec<_> = WORLD.iter().filter(|name| linked.contains(**name)).collect();
    assert!(found.is_empty(), "tidegate-health links {found:?}");
    assert!(self::linked(&metadata, "tidegate-probe").contains("tokio"), "the list would find it");
}

#[test]
fn the_core_may_not_ask_a_clock_a_socket_or_a_file() {
    let lints = std::fs::read_to_string(root().join("health/clippy.toml")).expect("the core has its lints");
    let lints: toml_paths::Lints = toml_paths::read(&lints);
    for method in ["std::time::Instant::now", "std::time::SystemTime::now"] {
        assert!(lints.methods.contains(method), "{method} is not banned");
    }
    for kind in ["std::net::TcpStream", "std::net::TcpListener", "std::net::UdpSocket", "std::fs::File"] {
        assert!(lints.types.contains(kind), "{kind} is not banned");
    }
    for method in ["read", "read_to_string", "write", "read_dir", "remove_file", "rename", "create_dir_all"] {
        assert!(lints.methods.contains(&*format!("std::fs::{method}")), "std::fs::{method} is not banned");
    }
}

/// Just enough of the lints' file: its two lists, by their paths.
mod toml_paths {
    use std::collections::BTreeSet;

    pub(super) struct Lints {
        pub(super) methods: BTreeSet<String>,
        pub(super) types: BTreeSet<String>,
    }

    pub(super) fn read(text: &str) -> Lints {
        Lints { methods: list(text, "disallowed-methods"), types: list(text, "disallowed-types") }
    }

    fn list(text: &str, key: &str) -> BTreeSet<String> {
        let (_, rest) = text.split_once(&format!("{key} = [")).expect("the list is there");
        let (list, _) = rest.split_once("\n]").expect("the list ends");
        let entries = list.lines().filter(|line| !line.trim_start().starts_with('#'));
        entries
            .filter_map(|line| Some(line.split_once("path = \"")?.1.split_once('"')?.0.to_owned()))
            .collect()
    }
}
