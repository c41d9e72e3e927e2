//! What becomes of a setting on an engine.

use std::borrow::Cow;

/// What becomes of a setting on an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Support {
    /// What it means on the edge.
    Exact,
    /// Nearly what it means on the edge, and never less strict where it is a matter of security.
    Emulated {
        /// How it differs; a sentence without its subject and full stop, such as `counts seconds,
        /// not requests`.
        differs: Cow<'static, str>,
    },
    /// Nothing.
    Refused {
        /// Why; worded as in [`Support::Emulated`].
        why: Cow<'static, str>,
    },
}

impl Support {
    /// Says that it is carried out in another way.
    pub fn emulated(differs: impl Into<Cow<'static, str>>) -> Self {
        Self::Emulated { differs: differs.into() }
    }

    /// Says that it is not carried out.
    pub fn refused(why: impl Into<Cow<'static, str>>) -> Self {
        Self::Refused { why: why.into() }
    }

    /// Tells whether it is not carried out.
    pub const fn is_refused(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}
