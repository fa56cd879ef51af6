//! `cargo xtask servers`: roots with servers that this release of Debian does not have.

use anyhow::Result;
use clonelove_testkit::{Flavour, Readiness, fetch_plugins, make_root};

use crate::stages::Outcome;

/// Makes what is missing and says what there is.
pub(crate) fn run(again: bool) -> Result<bool> {
    let outcome = make(again)?;
    covered().iter().chain(&outcome.not_covered).for_each(|line| println!("{line}"));
    Ok(outcome.failed.is_empty())
}

/// Makes the roots that are missing, and fetches what servers need besides. One that cannot be made is not a failure: it
/// is named and counted.
pub(crate) fn make(again: bool) -> Result<Outcome> {
    let mut outcome = Outcome::check();
    for flavour in Flavour::ALL.into_iter().filter(|flavour| flavour.needs_root()) {
        if let Err(error) = make_root(flavour, again) {
            let why = format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ");
            outcome.not_covered.push(format!("NOT COVERED: {} ({why})", flavour.name()));
        }
    }
    for flavour in
        Flavour::ALL.into_iter().filter(|flavour| matches!(flavour.readiness(), Ok(Readiness::Ready)))
    {
        if let Err(error) = fetch_plugins(flavour) {
            let why = format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ");
            outcome
                .not_covered
                .push(format!("NOT COVERED: accounts of {} that sign ({why})", flavour.name()));
        }
    }
    Ok(outcome)
}

/// The servers that can be started here, with their versions.
pub(crate) fn covered() -> Vec<String> {
    Flavour::ALL
        .into_iter()
        .filter(|flavour| matches!(flavour.readiness(), Ok(Readiness::Ready)))
        .map(|flavour| {
            let version = flavour.version().unwrap_or_else(|error| format!("{error:#}"));
            format!("{}: {version}", flavour.name())
        })
        .collect()
}
