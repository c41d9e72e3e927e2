//! What the reading script prints, by sections.

/// Sections of what was printed: each begins with a line `@name`.
#[derive(Debug)]
pub(crate) struct Sections<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Sections<'a> {
    /// Divides what was printed.
    pub(crate) fn of(printed: &'a str) -> Self {
        let parts = printed.strip_prefix('@').unwrap_or_default().split("\n@");
        let divide = |part: &'a str| part.split_once('\n').unwrap_or((part.trim_end(), ""));
        Self(parts.map(divide).collect())
    }

    /// Returns a section, or what to say where it is missing or empty.
    pub(crate) fn get(&self, name: &str) -> Result<&'a str, String> {
        match self.find(name) {
            Some(text) if !text.trim().is_empty() => Ok(text),
            Some(_) => Err(format!("the machine says nothing of its {name}")),
            None => Err(format!("the reading ended before it came to the {name}")),
        }
    }

    /// Returns a section, which may be empty.
    pub(crate) fn find(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(section, _)| *section == name).map(|(_, text)| *text)
    }
}

/// Says that a text is not understood, with its first line.
pub(crate) fn unreadable(what: &str, text: &str) -> String {
    let line: String = text.lines().next().unwrap_or_default().chars().take(80).collect();
    format!("what the machine says of its {what} is not understood: `{line}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_from_what_is_empty() {
        let sections = Sections::of("@time\n17\n@unit\n@load\n1 2 3\nx\n@en");
        assert_eq!(sections.get("time").unwrap(), "17");
        assert_eq!(sections.get("load").unwrap(), "1 2 3\nx");
        assert!(sections.get("unit").unwrap_err().contains("says nothing"));
        assert!(sections.get("memory").unwrap_err().contains("ended before"));
        assert_eq!(Sections::of("").find("time"), None);
    }
}
