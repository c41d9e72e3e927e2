//! The path of a request, kept as it was sent where that is its one form already.

use std::borrow::Cow;

use http::{
    Uri,
    uri::{InvalidUri, PathAndQuery},
};

use super::{RequestFault, Spellings, path::spelled};

/// The path of a request in its one form. Nearly all requests come with it, and those cost no memory.
#[derive(Clone, Debug)]
pub(crate) struct RequestPath {
    sent: PathAndQuery,
    /// The path, where it was not sent in its one form.
    rewritten: Option<Box<str>>,
}

impl RequestPath {
    /// Finds the path that a target means, and what of it programs understand differently.
    pub(crate) fn of(target: &Uri) -> Result<(Self, Spellings), RequestFault> {
        let (path, spellings) = spelled(target.path())?;
        let rewritten = match path {
            Cow::Borrowed(_) => None,
            Cow::Owned(path) => Some(path.into_boxed_str()),
        };
        let sent = target.path_and_query().cloned();
        let sent = sent.unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok((Self { sent, rewritten }, spellings))
    }

    /// Returns the path.
    pub(crate) fn as_str(&self) -> &str {
        self.rewritten.as_deref().unwrap_or_else(|| self.sent.path())
    }

    /// Returns the query.
    pub(crate) fn query(&self) -> Option<&str> {
        self.sent.query()
    }

    /// Puts another query in the place of the one that was sent.
    pub(crate) fn set_query(&mut self, query: Option<&str>) -> Result<(), InvalidUri> {
        let path = self.sent.path();
        self.sent = match query {
            Some(query) => PathAndQuery::try_from(format!("{path}?{query}"))?,
            None => PathAndQuery::try_from(path)?,
        };
        Ok(())
    }

    /// Returns the whole of it with the query.
    pub(crate) fn whole(&self) -> Result<PathAndQuery, InvalidUri> {
        // A URL may lack its path, which a target that is sent to a server may not.
        if self.rewritten.is_none() && self.sent.as_str().starts_with('/') {
            return Ok(self.sent.clone());
        }
        self.rest(self.as_str())
    }

    /// Returns a part of the path with the query.
    pub(crate) fn rest(&self, rest: &str) -> Result<PathAndQuery, InvalidUri> {
        match self.query() {
            Some(query) => PathAndQuery::try_from(format!("{rest}?{query}")),
            None => PathAndQuery::try_from(rest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_its_query_are_passed_on_in_their_one_form() {
        for (sent, path, whole) in [
            ("/a/b", "/a/b", "/a/b"),
            ("/a?b=c", "/a", "/a?b=c"),
            ("/%61//b?c=%61", "/a/b", "/a/b?c=%61"),
            ("http://a.example", "/", "/"),
            ("http://a.example?b", "/", "/?b"),
        ] {
            let (read, _) = RequestPath::of(&sent.parse().unwrap()).unwrap();
            assert_eq!(read.as_str(), path, "{sent}");
            assert_eq!(read.whole().unwrap(), whole, "{sent}");
        }
        let (mut read, _) = RequestPath::of(&"/a/b?c".parse().unwrap()).unwrap();
        assert_eq!(read.rest("/b").unwrap(), "/b?c");
        read.set_query(Some("d=e")).unwrap();
        assert_eq!(read.whole().unwrap(), "/a/b?d=e");
        read.set_query(None).unwrap();
        assert_eq!(read.whole().unwrap(), "/a/b");
    }
}
