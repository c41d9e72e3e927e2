//! Whose things a caller may see. It is part of the query: what is not visible is not found.

use portway_model::{Id, User};
use sea_orm::{ColumnTrait, Condition};

/// Whose things a query sees or touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visible {
    /// Everybody's and the installation's own.
    All,
    /// Those of one user.
    Owner(Id<User>),
}

impl Visible {
    /// Tells whether something of `owner` is visible.
    pub fn sees(self, owner: Option<Id<User>>) -> bool {
        match self {
            Self::All => true,
            Self::Owner(user) => owner == Some(user),
        }
    }

    /// Returns the condition on the column that holds the owner.
    pub(crate) fn on(self, owner: impl ColumnTrait) -> Condition {
        match self {
            Self::All => Condition::all(),
            Self::Owner(user) => Condition::all().add(owner.eq(user.uuid())),
        }
    }
}
