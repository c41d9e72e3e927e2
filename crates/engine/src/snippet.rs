//! Directives in an engine's own language that a site brings. They are not understood here: only that
//! they end where they should, and do not name what decides which requests are the site's.

use portway_model::{
    EngineKind, FieldPath, Finding, FindingCode, Findings, ResourceKind, Site, site::Snippets,
};
use portway_policy::SitePolicy;

use crate::{Engine, caddy::tokens, nginx::parse};

/// What nginx would choose sites by, so that requests of others could come.
const CHOOSING: [&str; 2] = ["listen", "server_name"];

/// What is wrong with a snippet.
struct Problem {
    text: String,
    remedy: &'static str,
}

/// Returns the field of an engine's snippet.
pub(crate) fn field(engine: EngineKind) -> FieldPath {
    FieldPath::root().key("snippets").key(engine.as_str())
}

/// Judges the snippets of a site that is to be written, as far as that can be done without the engines.
pub fn review_snippets(site: &Site) -> Vec<Finding> {
    let mut findings = Findings::about(ResourceKind::Site, site.name.as_str());
    for engine in site.snippets.engines() {
        let Some(text) = site.snippets.of(engine) else { continue };
        if let Err(problem) = review(engine, text) {
            findings
                .error(FindingCode::InvalidValue, &field(engine), problem.text)
                .remedy(problem.remedy);
        }
    }
    findings.into_vec()
}

fn review(engine: EngineKind, text: &str) -> Result<(), Problem> {
    match engine {
        EngineKind::Nginx => review_nginx(text),
        EngineKind::Caddy => review_caddy(text),
        EngineKind::Traefik | EngineKind::Edge => Ok(()),
    }
}

/// It is a file of its own, which nginx wants to be whole.
fn review_nginx(text: &str) -> Result<(), Problem> {
    let directives = parse(text).map_err(|error| Problem {
        text: format!("nginx could not read it: {error}"),
        remedy: "every directive ends with `;` or a whole block in braces",
    })?;
    let chooses = |name: &&str| directives.iter().any(|directive| directive.name() == *name);
    match CHOOSING.into_iter().find(chooses) {
        None => Ok(()),
        Some(name) => Err(Problem {
            text: format!("`{name}` decides which requests are the site's, and is Portway's"),
            remedy: "remove it; `hosts` says what the site answers to",
        }),
    }
}

/// It is put into a block of ours word by word, so it must close what it opens, and nothing else. What
/// other files and the environment would bring cannot be seen here.
fn review_caddy(text: &str) -> Result<(), Problem> {
    let unread = |line: usize, problem: &str| Problem {
        text: format!("Caddy could not read it: line {line}: {problem}"),
        remedy: "every block closes what it opens",
    };
    if text.contains("{$") {
        return Err(Problem {
            text: "`{$…}` is replaced before Caddy reads it, so nobody knows what is read"
                .to_owned(),
            remedy: "write the value itself, or `{env.NAME}`",
        });
    }
    let tokens = tokens(text).map_err(|error| unread(error.line, error.problem))?;
    let mut open = Vec::new();
    for token in tokens.iter().filter(|token| !token.is_quoted) {
        match token.text.as_str() {
            "{" => open.push(token.line),
            "}" if open.pop().is_none() => {
                return Err(unread(token.line, "a closing brace without an opening one"));
            }
            "import" if token.is_first => {
                return Err(Problem {
                    text: "`import` brings what cannot be seen here".to_owned(),
                    remedy: "write what it would bring",
                });
            }
            _ => {}
        }
    }
    match open.pop() {
        None => Ok(()),
        Some(line) => Err(unread(line, "the block is not closed")),
    }
}

/// Returns what should be known of a site's snippets on an engine.
pub(crate) fn told(engine: &dyn Engine, site: &SitePolicy) -> Vec<Finding> {
    if engine.snippet(site).is_some() {
        // That it is not understood is said of the site itself.
        return Vec::new();
    }
    not_carried_out(engine.name(), &site.snippets, site.name.as_str())
}

/// Returns what is said of a site whose snippets are for other engines than this.
pub fn not_carried_out(engine: &str, snippets: &Snippets, site: &str) -> Vec<Finding> {
    let mut findings = Findings::about(ResourceKind::Site, site);
    let theirs: Vec<_> = snippets.engines().map(EngineKind::as_str).collect();
    if !theirs.is_empty() {
        let text = format!(
            "`snippets` has something for {} and nothing for {engine}: it is not carried out there",
            theirs.join(" and ")
        );
        findings
            .warning(FindingCode::Unsupported, &FieldPath::root().key("snippets"), text)
            .remedy("say it by a setting of the site, which every engine carries out");
    }
    findings.into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(engine: EngineKind, text: &str) -> Option<String> {
        review(engine, text).err().map(|problem| problem.text)
    }

    #[test]
    fn ordinary_directives_are_taken() {
        for text in [
            "gzip_vary on;\n",
            "location = /hello {\n  return 200 \"}\";\n}\n",
            "# } a comment\nadd_header X-A 'b { c';\n",
        ] {
            assert_eq!(problem(EngineKind::Nginx, text), None, "{text}");
        }
        for text in [
            "header X-A b\n",
            "handle /hello {\n  respond \"}\" 200\n}\n",
            "# } a comment\nrespond /a `{` 200\n",
            "respond /a <<END\n  }\n  END 200\n",
        ] {
            assert_eq!(problem(EngineKind::Caddy, text), None, "{text}");
        }
    }

    #[test]
    fn what_would_leave_its_block_is_refused() {
        for text in [
            "}\n",
            "} server { listen 80;\n",
            "return 200;\n}\nserver {\n",
            "location / {\n",
            "return 200 \"x",
            "return 200\n",
            "\\}\n}\n",
            "a; ${b};\n}\n",
        ] {
            assert!(problem(EngineKind::Nginx, text).is_some(), "{text}");
        }
        for text in [
            "}\n",
            "}\n:80 {\n",
            "handle {\n",
            "handle {\n}\n}\n",
            "respond `{`\n}\n",
            "respond <<END\n  }\n  END\n}\n",
        ] {
            assert!(problem(EngineKind::Caddy, text).is_some(), "{text}");
        }
    }

    #[test]
    fn what_takes_requests_of_others_or_cannot_be_seen_is_refused() {
        for text in ["listen 80 default_server;\n", "server_name other.example;\n"] {
            assert!(problem(EngineKind::Nginx, text).unwrap().contains("Portway's"), "{text}");
        }
        for text in ["import /etc/caddy/*\n", "respond {$X:\n}\n", "handle {\n  import x\n}\n"] {
            assert!(problem(EngineKind::Caddy, text).is_some(), "{text}");
        }
    }
}
