//! What becomes of a setting on an engine.

use std::borrow::Cow;

use crate::Bearing;

/// What an engine's support of a setting comes to for a site that uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It is as on the edge.
    Exact,
    /// It is nearly so.
    Emulated,
    /// The site is served without it.
    LeftOut,
    /// The site is not served.
    Refused,
}

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

    /// Returns how it differs or why it is not carried out.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Exact => None,
            Self::Emulated { differs: text } | Self::Refused { why: text } => Some(text),
        }
    }

    /// Returns what that comes to for a site that uses a setting of this bearing.
    pub const fn fit(&self, bearing: Bearing) -> Fit {
        match (self, bearing) {
            (Self::Exact, _) => Fit::Exact,
            (Self::Emulated { .. }, _) => Fit::Emulated,
            (Self::Refused { .. }, Bearing::Preference) => Fit::LeftOut,
            (Self::Refused { .. }, Bearing::Security | Bearing::Essential) => Fit::Refused,
        }
    }

    /// Tells whether it is not carried out.
    pub const fn is_refused(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}
