//! `cargo xtask arch`: the crates of the workspace keep to their layers.
//!
//! A crate depends only on crates of lower layers, so that a change spreads in one direction and the
//! edge can never come to read the store. Development dependencies may go anywhere as long as they
//! close no ring: a crate built twice, once for its own tests and once for the helper they use, has
//! every type twice. It reads manifests, not code.

mod manifest;
mod ring;
mod workspace;

use std::path::PathBuf;

use crate::fault::Fault;
use workspace::{Dependency, Kind, Package};

/// The layers from the lowest; each names its crates without the prefix `portway-`.
const LAYERS: [&[&str]; 8] = [
    &["model"],
    &["http1", "net", "policy", "secrets", "sitefile", "telemetry", "waf", "wire"],
    &["cert", "edge", "engine", "runtime", "store", "transport", "tunnel"],
    &["deploy", "diagnose", "import", "observe"],
    &["control"],
    &["api"],
    &["cli"],
    &["bench"],
];

/// Crates that only compute: no I/O, no async.
const PURE: [&str; 6] = ["engine", "http1", "import", "model", "policy", "waf"];

/// What moves bytes or waits for them, by the beginning of its name.
const IMPURE_DEPENDENCIES: [&str; 10] = [
    "async-", "axum", "futures", "hyper", "mio", "reqwest", "rustix", "rustls", "socket2", "tokio",
];

/// What speaks SQL, by the beginning of its name.
const SQL_DEPENDENCIES: [&str; 6] =
    ["diesel", "libsqlite3-sys", "rusqlite", "sea-orm", "sqlx", "tokio-postgres"];

/// What the edge must not know, though a layer below it might hold it.
const CLOSED_TO_THE_EDGE: [&str; 4] = ["api", "control", "store", "wire"];

/// What measures the product and is no part of it; it may use what tests use.
const MEASURES: [&str; 1] = ["bench"];

/// What a package of the workspace is to this check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// A crate of the product.
    Layer(usize),
    /// Helpers of tests; only tests and measurements depend on it.
    Testkit,
    /// This program; nobody depends on it.
    Xtask,
}

/// Reads the workspace at `root` and returns what breaks the rules.
pub(crate) fn faults(root: &PathBuf) -> anyhow::Result<Vec<Fault>> {
    Ok(check(&workspace::read(root)?))
}

fn check(packages: &[Package]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for package in packages {
        faults.extend(faults_of_manifest(package));
        match role(&package.name) {
            Some(role) => faults.extend(
                package.dependencies.iter().filter_map(|to| fault_of(package, role, to, packages)),
            ),
            None => faults.push(unknown(package)),
        }
    }
    faults.extend(ring::faults(packages));
    faults
}

fn role(package: &str) -> Option<Role> {
    let short = short(package);
    match package {
        "xtask" => Some(Role::Xtask),
        _ if short == package => None,
        _ if short == "testkit" => Some(Role::Testkit),
        _ => LAYERS.iter().position(|layer| layer.contains(&short)).map(Role::Layer),
    }
}

fn short(package: &str) -> &str {
    package.strip_prefix("portway-").unwrap_or(package)
}

fn unknown(package: &Package) -> Fault {
    package.fault(
        package.line_of_name(),
        format!("{} belongs to no layer", package.name),
        "call it portway-<folder> and give it its place in LAYERS (xtask/src/arch.rs)",
    )
}

fn faults_of_manifest(package: &Package) -> Vec<Fault> {
    let mut faults = Vec::new();
    if let (Some(Role::Layer(_) | Role::Testkit), Some(folder)) =
        (role(&package.name), package.folder())
        && folder != short(&package.name)
    {
        let wanted = format!("name it portway-{folder}, or move it to crates/");
        let what = format!("{} stands in a folder called {folder}", package.name);
        faults.push(package.fault(package.line_of_name(), what, wanted + short(&package.name)));
    }
    if !package.takes_workspace_lints() {
        let what = format!("{} does without the lints of the workspace", package.name);
        faults.push(package.fault(1, what, "add `[lints]` with `workspace = true`"));
    }
    faults
}

/// Judges one dependency; the first rule it breaks is the one reported.
fn fault_of(from: &Package, role: Role, to: &Dependency, all: &[Package]) -> Option<Fault> {
    let inside = all.iter().any(|package| package.name == to.name);
    let broken = if inside { broken_inside(from, role, to) } else { broken_outside(from, to) };
    let (why, mend) = broken?;
    let what = format!("{} depends on {}: {why}", from.name, to.name);
    Some(from.fault(from.line_of(to), what, mend))
}

type Broken = Option<(String, &'static str)>;

fn broken_inside(from: &Package, own: Role, to: &Dependency) -> Broken {
    // An unknown crate is a fault at its own manifest; its place is not guessed at here.
    let target = role(&to.name)?;
    match (own, target) {
        (_, Role::Xtask) => Some((
            "xtask is a program for this repository".to_owned(),
            "move what both need into a crate of a layer",
        )),
        (_, Role::Testkit)
            if to.kind != Kind::Development && !MEASURES.contains(&short(&from.name)) =>
        {
            Some(("testkit is for tests".to_owned(), "list it under `[dev-dependencies]`"))
        }
        (Role::Layer(layer), Role::Layer(other)) if to.kind != Kind::Development => {
            broken_layers(from, layer, to, other)
        }
        (Role::Layer(_) | Role::Testkit | Role::Xtask, Role::Layer(_) | Role::Testkit) => None,
    }
}

fn broken_layers(from: &Package, layer: usize, to: &Dependency, other: usize) -> Broken {
    if short(&from.name) == "edge" && CLOSED_TO_THE_EDGE.contains(&short(&to.name)) {
        return Some((
            "the edge runs without the control plane".to_owned(),
            "give the edge what it needs through portway-policy",
        ));
    }
    (other >= layer).then(|| {
        (
            format!(
                "layer {layer} may use only layers below it, and {} is of layer {other}",
                to.name
            ),
            "move what both need into a lower layer, or pass it in as an argument or trait",
        )
    })
}

fn broken_outside(from: &Package, to: &Dependency) -> Broken {
    let own = short(&from.name);
    let is_one_of = |names: &[&str]| names.iter().any(|name| to.name.starts_with(name));
    if own != "store" && is_one_of(&SQL_DEPENDENCIES) {
        return Some((
            "SQL stands in portway-store only".to_owned(),
            "add the query to portway-store and call that",
        ));
    }
    if PURE.contains(&own) && to.kind != Kind::Development && is_one_of(&IMPURE_DEPENDENCIES) {
        return Some((
            format!("portway-{own} does no I/O and nothing async"),
            "let its caller do that and pass the result in",
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_that_depend_downwards_are_without_fault() {
        let packages = [
            package("model").with(Kind::Normal, "serde"),
            package("policy").with(Kind::Normal, "portway-model"),
            package("edge").with(Kind::Normal, "portway-policy").with(Kind::Normal, "tokio"),
            package("store").with(Kind::Normal, "portway-model").with(Kind::Normal, "sea-orm"),
        ];

        assert_eq!(check(&packages), []);
    }

    #[test]
    fn a_dependency_on_a_higher_layer_is_named_with_its_line() {
        let packages = [package("model").with(Kind::Normal, "portway-policy"), package("policy")];

        let faults = check(&packages);

        assert_eq!(
            lines(&faults),
            [
                "crates/model/Cargo.toml:6: portway-model depends on portway-policy: layer 0 may use \
                 only layers below it, and portway-policy is of layer 1; move what both need into a \
                 lower layer, or pass it in as an argument or trait"
            ]
        );
    }

    #[test]
    fn a_dependency_within_a_layer_is_a_fault() {
        let packages = [package("cert").with(Kind::Normal, "portway-store"), package("store")];

        assert_eq!(check(&packages).len(), 1);
    }

    #[test]
    fn a_build_dependency_counts_as_a_dependency() {
        let packages = [package("policy").with(Kind::Build, "portway-wire"), package("wire")];

        assert_eq!(check(&packages).len(), 1);
    }

    #[test]
    fn a_development_dependency_may_go_up() {
        let packages = [package("policy").with(Kind::Development, "portway-edge"), package("edge")];

        assert_eq!(check(&packages), []);
    }

    #[test]
    fn a_crate_without_a_layer_is_a_fault() {
        let packages = [package("gizmo")];

        let faults = check(&packages);

        assert!(lines(&faults)[0].contains("portway-gizmo belongs to no layer"), "{faults:?}");
    }

    #[test]
    fn a_crate_without_the_prefix_is_a_fault_even_when_its_name_is_a_layer_s() {
        let mut bare = package("model");
        bare.name = "model".to_owned();

        assert!(lines(&check(&[bare]))[0].contains("model belongs to no layer"));
    }

    #[test]
    fn a_crate_in_a_folder_of_another_name_is_a_fault() {
        let mut moved = package("model");
        moved.manifest_path = "crates/types/Cargo.toml".to_owned();

        assert!(lines(&check(&[moved]))[0].contains("stands in a folder called types"));
    }

    #[test]
    fn the_testkit_is_for_tests_and_measurements_only() {
        let wrong = [package("edge").with(Kind::Normal, "portway-testkit"), package("testkit")];
        let right =
            [package("edge").with(Kind::Development, "portway-testkit"), package("testkit")];
        let measures = [package("bench").with(Kind::Normal, "portway-testkit"), package("testkit")];

        assert!(lines(&check(&wrong))[0].contains("testkit is for tests"));
        assert_eq!(check(&right), []);
        assert_eq!(check(&measures), []);
    }

    #[test]
    fn nobody_depends_on_xtask_not_even_a_test() {
        let packages = [package("edge").with(Kind::Development, "xtask"), xtask()];

        assert!(lines(&check(&packages))[0].contains("xtask is a program"));
    }

    #[test]
    fn sql_outside_the_store_is_a_fault_even_in_tests() {
        for kind in [Kind::Normal, Kind::Development, Kind::Build] {
            for sql in ["sqlx", "sea-orm", "sea-orm-migration"] {
                let packages = [package("control").with(kind, sql)];

                assert!(lines(&check(&packages))[0].contains("SQL stands in portway-store only"));
            }
        }
    }

    #[test]
    fn the_edge_knows_nothing_of_the_control_plane() {
        for closed in CLOSED_TO_THE_EDGE {
            let edge = package("edge").with(Kind::Normal, &format!("portway-{closed}"));
            let packages = [edge, package(closed)];

            assert!(lines(&check(&packages))[0].contains("runs without the control plane"));
        }
    }

    #[test]
    fn a_pure_crate_may_wait_only_in_its_tests() {
        let wrong = [package("policy").with(Kind::Normal, "tokio-util")];
        let right = [package("policy").with(Kind::Development, "tokio")];

        assert!(lines(&check(&wrong))[0].contains("portway-policy does no I/O"));
        assert_eq!(check(&right), []);
    }

    #[test]
    fn a_crate_without_the_lints_of_the_workspace_is_a_fault() {
        let mut lax = package("model");
        lax.manifest = "[package]\nname = \"portway-model\"\n".to_owned();

        assert!(lines(&check(&[lax]))[0].contains("does without the lints"));
    }

    #[test]
    fn all_faults_are_found_at_once() {
        let packages = [
            package("gizmo"),
            package("model").with(Kind::Normal, "portway-policy").with(Kind::Normal, "sqlx"),
            package("policy"),
        ];

        assert_eq!(check(&packages).len(), 3);
    }

    fn package(short: &str) -> Package {
        Package {
            name: format!("portway-{short}"),
            manifest_path: format!("crates/{short}/Cargo.toml"),
            dependencies: Vec::new(),
            manifest: format!("[package]\nname = \"portway-{short}\"\n[lints]\nworkspace = true\n"),
        }
    }

    fn xtask() -> Package {
        let mut package = package("xtask");
        "xtask".clone_into(&mut package.name);
        "xtask/Cargo.toml".clone_into(&mut package.manifest_path);
        package
    }

    impl Package {
        fn with(mut self, kind: Kind, dependency: &str) -> Self {
            self.manifest.extend(["[", kind.table(), "]\n", dependency, ".workspace = true\n"]);
            self.dependencies.push(Dependency { name: dependency.to_owned(), rename: None, kind });
            self
        }
    }

    fn lines(faults: &[Fault]) -> Vec<String> {
        faults.iter().map(ToString::to_string).collect()
    }
}
