//! The README's programs run as they stand there, and no link of the README or the book leads nowhere.

#[path = "../../docs/tiny.rs"]
mod tiny;

mod program {
    include!("readme.rs");

    pub(super) fn run() {
        main().expect("the program runs");
    }
}

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rekindle::Model;
use rekindle::backbone::{Bert, Pooling};
use rekindle::head::Classifier;
use rekindle::params::{Freeze, Inventory, Progress, Rates, TrainPlan};

const README: &str = include_str!("../../README.md");

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_readme_program_runs() {
    assert!(README.contains(&format!("```rust\n{}```", include_str!("readme.rs"))), "the README shows another program");
    let folder = tiny::tiny();
    std::env::set_current_dir(&folder).expect("a folder");
    program::run();
    std::env::set_current_dir(root()).expect("a folder");
}

#[test]
fn the_readme_policies_are_accepted() -> Result<(), Box<dyn std::error::Error>> {
    assert!(
        README.contains(&format!("```rust\n{}```", include_str!("policies.rs"))),
        "the README shows other policies"
    );
    include!("policies.rs").iter().for_each(|policy| drop(plan(policy)));
    Ok(())
}

#[test]
fn the_readme_plan_is_what_is_printed() {
    let plan = plan(&Freeze::Bottom(2));
    assert!(README.contains(&plan.to_string()), "the README's plan should be:\n{plan}");
}

fn plan(policy: &Freeze) -> TrainPlan {
    let device = rekindle::device("flex").expect("the default device");
    let body = Bert::new(&tiny::config(120), Pooling::Mean, 1, &device);
    let model = Model::new(body, Classifier::new(32, tiny::LABELS, 1, &device));
    let inventory = Inventory::of(&model).expect("sound");
    TrainPlan::new(&inventory, policy, &Rates::new(1e-3), Progress::default()).expect("a plan")
}

#[test]
fn every_page_is_linked_and_every_link_has_its_page() {
    let summary = root().join("docs/src/SUMMARY.md");
    let linked: BTreeSet<PathBuf> = links(&summary).into_iter().collect();
    let mut pages = BTreeSet::new();
    pages_under(&root().join("docs/src"), &mut pages);
    pages.remove(&summary);
    assert_eq!(linked, pages);
}

#[test]
fn links_between_files_lead_somewhere() {
    let mut pages = BTreeSet::from(["README.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(|name| root().join(name)));
    pages_under(&root().join("docs/src"), &mut pages);
    let targets = pages.iter().flat_map(|page| links(page).into_iter().map(move |target| (page, target)));
    let broken: Vec<_> = targets.filter(|(_, target)| !target.exists()).collect();
    assert!(broken.is_empty(), "{broken:?}");
}

fn pages_under(folder: &Path, pages: &mut BTreeSet<PathBuf>) {
    for entry in folder.read_dir().expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => pages_under(&path, pages),
            false if path.extension().is_some_and(|extension| extension == "md") => drop(pages.insert(path)),
            false => {} // a picture; a page links to it
        }
    }
}

/// The files that a page links to, without anchors.
fn links(page: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(page).expect("a page");
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    let files = targets.filter(|target| !target.is_empty() && !target.contains("://"));
    files.map(|target| tidy(&page.with_file_name(target))).collect()
}

/// The path without `..`.
fn tidy(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut path, part| {
        match part.as_os_str() == ".." {
            true => drop(path.pop()),
            false => path.push(part),
        }
        path
    })
}
