//! Takes back what somebody changed by hand in the files that Portway wrote for a site: which change of
//! the site says the same, and whether it really does.
//!
//! A changed file is compared with the one that was deployed, as nginx understands both. Of each
//! difference it is known what it was made from, and so which setting of the site it changes. What
//! says nothing of a site is told with its line. Whether the changed site says what is there is then
//! [proven]: it is written anew, and nothing that somebody did may be lost or undone by that.
//!
//! Only nginx is read back. What stands for a site in a Caddyfile is JSON of Caddy's own, and Traefik's
//! routers are spread over one file for all sites: nobody changes single settings there by hand.

mod edit;
mod headers;
mod proof;
mod targets;
mod tree;

use portway_engine::Object;
use portway_model::SiteSpec;

/// A file of a site as Portway wrote it, and as it was found.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// As it was deployed.
    pub deployed: &'a Object,
    /// What stands there.
    pub text: &'a str,
}

/// A site that says what somebody did by hand.
#[derive(Clone, Debug, PartialEq)]
pub struct Adoption {
    /// The site, as written.
    pub spec: SiteSpec,
    /// How many differences it takes up. None means that comments and blanks alone were changed.
    pub differences: usize,
}

/// A difference that no change of the site says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Which of the files that were given it stands in.
    pub file: usize,
    /// The line in the file as it was found; that of what is gone is where it was.
    pub line: usize,
    /// What stands there, or what is gone.
    pub text: String,
    /// Why it cannot be taken back.
    pub why: String,
}

/// Returns the site that says what was done by hand in its files.
///
/// # Errors
/// Returns every difference that nothing in a site says.
pub fn nginx(spec: &SiteSpec, files: &[Found<'_>]) -> Result<Adoption, Vec<Obstacle>> {
    let mut editing = edit::Editing::new(spec);
    let (mut differences, mut obstacles) = (0, Vec::new());
    for (at, file) in files.iter().enumerate() {
        let (deployed, found) = match tree::both(file) {
            Ok(both) => both,
            Err(obstacle) => {
                obstacles.push(Obstacle { file: at, ..obstacle });
                continue;
            }
        };
        for difference in tree::differences(&deployed, &found) {
            differences += 1;
            if let Err(why) = editing.take(&difference) {
                obstacles.push(Obstacle {
                    file: at,
                    line: difference.line(),
                    text: difference.text(),
                    why,
                });
            }
        }
    }
    if obstacles.is_empty() {
        return Ok(Adoption { spec: editing.into_spec(), differences });
    }
    Err(obstacles)
}

/// Proves that a file which is written for the changed site says everything that was done by hand in
/// the one that was found. What was not touched there may be written otherwise: it follows from the
/// change.
///
/// # Errors
/// Returns what was done by hand and would be lost.
pub fn proven(file: &Found<'_>, written: &Object) -> Result<(), Vec<Obstacle>> {
    proof::proven(file, written)
}
