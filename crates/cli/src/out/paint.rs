//! Colours, named for what they say.

/// Paints texts, or leaves them as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// Returns a painter that paints or does not.
    pub(crate) const fn new(on: bool) -> Self {
        Self { on }
    }

    /// Tells whether it paints.
    pub(crate) const fn is_on(self) -> bool {
        self.on
    }

    /// Something wrong, or removed.
    pub(crate) fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    /// Something right, or added.
    pub(crate) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// Something that deserves attention, or changed.
    pub(crate) fn warn(self, text: &str) -> String {
        self.with("33", text)
    }

    /// A place.
    pub(crate) fn place(self, text: &str) -> String {
        self.with("36", text)
    }

    /// A heading.
    pub(crate) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    /// Something less important.
    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.on { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
