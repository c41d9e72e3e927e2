//! A directive with its entry in the report.

use crate::report::Id;

/// A directive with what stands in its braces.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) id: Id,
    pub(crate) words: Vec<String>,
    pub(crate) block: Option<Vec<Self>>,
}

impl Node {
    /// Returns its name.
    pub(crate) fn name(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// Returns its arguments.
    pub(crate) fn args(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }

    /// Returns an argument, or nothing at all.
    pub(crate) fn arg(&self, index: usize) -> &str {
        self.args().get(index).map_or("", String::as_str)
    }

    /// Returns what stands in its braces.
    pub(crate) fn inner(&self) -> &[Self] {
        self.block.as_deref().unwrap_or_default()
    }

    /// Calls `judge` with this directive and all that stands in its braces.
    pub(crate) fn each(&self, judge: &mut dyn FnMut(&Self)) {
        judge(self);
        for inner in self.inner() {
            inner.each(judge);
        }
    }
}
