//! Whose an edge is: who gives it its content, and whose turn that was last.
//!
//! An edge believes whoever may open its control socket. What is kept here does not protect it from
//! them; it keeps two installations, two nodes of one installation, or a manager that wakes up late,
//! from undoing each other's work unseen.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Who gives an edge its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The installation.
    pub installation: Uuid,
    /// The node that the edge is there.
    pub node: Uuid,
    /// The manager that wrote this, for people.
    pub manager: String,
    /// The number of its turn on the node: greater than that of every turn before.
    pub turn: u64,
}

/// What a change says about whose the edge is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "owner")]
pub enum Claim {
    /// It is this one's, unless it is somebody else's, or a later turn was here.
    Hold(Owner),
    /// It is this one's from now on, whosever it was.
    TakeOver(Owner),
    /// It is nobody's from now on.
    GiveUp,
}

impl Owner {
    /// Tells whether both are the same node of the same installation.
    pub fn is_same_node(&self, other: &Self) -> bool {
        (self.installation, self.node) == (other.installation, other.node)
    }
}

impl Claim {
    /// Decides whose an edge is after the claim.
    ///
    /// # Errors
    /// Returns whose it is and stays, where the claim does not count.
    pub fn settle(self, kept: Option<&Owner>) -> Result<Option<Owner>, Owner> {
        let owner = match self {
            Self::GiveUp => return Ok(None),
            Self::TakeOver(owner) => return Ok(Some(owner)),
            Self::Hold(owner) => owner,
        };
        match kept {
            Some(kept) if !kept.is_same_node(&owner) || kept.turn > owner.turn => Err(kept.clone()),
            Some(_) | None => Ok(Some(owner)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(installation: u128, node: u128, turn: u64) -> Owner {
        Owner {
            installation: Uuid::from_u128(installation),
            node: Uuid::from_u128(node),
            manager: "box".to_owned(),
            turn,
        }
    }

    #[test]
    fn an_edge_of_nobody_and_one_s_own_are_held() {
        let mine = owner(1, 2, 7);
        assert_eq!(Claim::Hold(mine.clone()).settle(None), Ok(Some(mine.clone())));
        for turn in [6, 7] {
            let kept = owner(1, 2, turn);
            assert_eq!(Claim::Hold(mine.clone()).settle(Some(&kept)), Ok(Some(mine.clone())));
        }
    }

    #[test]
    fn an_edge_of_another_one_and_of_a_later_turn_is_not() {
        let mine = owner(1, 2, 7);
        for kept in [owner(9, 2, 1), owner(1, 9, 1), owner(1, 2, 8)] {
            assert_eq!(Claim::Hold(mine.clone()).settle(Some(&kept)), Err(kept));
        }
    }

    #[test]
    fn it_can_be_taken_over_and_given_up_whosever_it_is() {
        let (mine, kept) = (owner(1, 2, 7), owner(9, 9, 9));
        assert_eq!(Claim::TakeOver(mine.clone()).settle(Some(&kept)), Ok(Some(mine)));
        assert_eq!(Claim::GiveUp.settle(Some(&kept)), Ok(None));
    }
}
