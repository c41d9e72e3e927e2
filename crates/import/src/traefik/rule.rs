//! The language of rules: matchers with `&&`, `||`, `!` and parentheses.

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Any(Vec<Rule>),
    All(Vec<Rule>),
    Not(Box<Rule>),
    /// A matcher with its arguments.
    Is(String, Vec<String>),
}

/// Whether a matcher must hold, its name and its arguments.
pub(super) type Atom = (bool, String, Vec<String>);

/// More ways than these are no rule that anybody wrote.
const MOST_WAYS: usize = 256;
const DEEPEST: usize = 32;

/// Reads a rule.
pub(super) fn parse(text: &str) -> Option<Rule> {
    let mut reader = Reader { rest: text.trim_start() };
    let rule = reader.any(0)?;
    reader.rest.is_empty().then_some(rule)
}

impl Rule {
    /// Returns the ways in which it can hold: in each, all matchers hold or, negated, do not.
    pub(super) fn ways(&self) -> Option<Vec<Vec<Atom>>> {
        self.of(true)
    }

    fn of(&self, holds: bool) -> Option<Vec<Vec<Atom>>> {
        let found = match (self, holds) {
            (Self::Is(name, args), _) => vec![vec![(holds, name.clone(), args.clone())]],
            (Self::Not(inner), _) => inner.of(!holds)?,
            (Self::Any(rules), true) | (Self::All(rules), false) => {
                let mut ways = Vec::new();
                for rule in rules {
                    ways.extend(rule.of(holds)?);
                }
                ways
            }
            (Self::All(rules), true) | (Self::Any(rules), false) => {
                let mut ways = vec![Vec::new()];
                for rule in rules {
                    let own = rule.of(holds)?;
                    if ways.len() * own.len() > MOST_WAYS {
                        return None;
                    }
                    ways = ways
                        .iter()
                        .flat_map(|way| own.iter().map(|more| [way.as_slice(), more].concat()))
                        .collect();
                }
                ways
            }
        };
        (found.len() <= MOST_WAYS).then_some(found)
    }
}

struct Reader<'t> {
    rest: &'t str,
}

impl Reader<'_> {
    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    fn any(&mut self, depth: usize) -> Option<Rule> {
        let mut rules = vec![self.all(depth)?];
        while self.eat("||") {
            rules.push(self.all(depth)?);
        }
        Some(one_or(rules, Rule::Any))
    }

    fn all(&mut self, depth: usize) -> Option<Rule> {
        let mut rules = vec![self.one(depth)?];
        while self.eat("&&") {
            rules.push(self.one(depth)?);
        }
        Some(one_or(rules, Rule::All))
    }

    fn one(&mut self, depth: usize) -> Option<Rule> {
        if depth > DEEPEST {
            return None;
        }
        if self.eat("!") {
            return Some(Rule::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.eat("(") {
            let rule = self.any(depth + 1)?;
            return self.eat(")").then_some(rule);
        }
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if name.is_empty() {
            return None;
        }
        self.rest = rest.trim_start();
        if !self.eat("(") {
            return None;
        }
        let mut args = Vec::new();
        while !self.eat(")") {
            args.push(self.text()?);
            self.eat(",");
        }
        Some(Rule::Is(name.to_owned(), args))
    }

    fn text(&mut self) -> Option<String> {
        let quote = self.rest.chars().next().filter(|c| matches!(c, '`' | '"' | '\''))?;
        let inner = self.rest.strip_prefix(quote)?;
        let (text, rest) = inner.split_once(quote)?;
        self.rest = rest.trim_start();
        Some(text.to_owned())
    }
}

fn one_or(mut rules: Vec<Rule>, many: fn(Vec<Rule>) -> Rule) -> Rule {
    match rules.len() {
        1 => rules.remove(0),
        _ => many(rules),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_becomes_the_ways_in_which_it_holds() {
        let ways = |text: &str| {
            let ways = parse(text)?.ways()?;
            let shown = ways.iter().map(|way| {
                let atoms = way.iter().map(|(holds, name, args)| {
                    format!("{}{name}({})", if *holds { "" } else { "!" }, args.join(","))
                });
                atoms.collect::<Vec<_>>().join("&")
            });
            Some(shown.collect::<Vec<_>>().join(" | "))
        };
        assert_eq!(
            ways("Host(`a`) && (PathPrefix(`/x`) || Path(`/y`))").unwrap(),
            "Host(a)&PathPrefix(/x) | Host(a)&Path(/y)"
        );
        assert_eq!(ways("!(Host(`a`) || Method(`GET`))").unwrap(), "!Host(a)&!Method(GET)");
        assert_eq!(ways("Header(`a`, `b`)").unwrap(), "Header(a,b)");
        for text in ["", "Host", "Host(`a`", "Host(a)", "Host(`a`) &&", "Host(`a`) x"] {
            assert_eq!(ways(text), None, "{text}");
        }
    }
}
