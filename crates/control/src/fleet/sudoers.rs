//! The rules of sudo that the login of a node needs.

use portway_deploy::{SUDOERS, SudoPlaces, sudoers};
use portway_wire::manage::NodeSudoers;

use super::hands::unreached;
use crate::{ControlError, rights::Operator};

impl Operator<'_> {
    /// Looks where the programs are on a node, and returns the rules that name them.
    pub async fn node_sudoers(&self, node: &str) -> Result<NodeSudoers, ControlError> {
        let hands = self.control.hands(node).await?;
        let Some(user) = hands.login() else {
            return Err(ControlError::Conflict(format!(
                "`{}` is on the manager's own machine, where nobody logs in",
                hands.row.name
            )));
        };
        let places = SudoPlaces::see(&*hands.reach, &hands.node).await.map_err(unreached)?;
        let rules = sudoers(&hands.node, user, &places)
            .map_err(|error| ControlError::Conflict(error.to_string()))?;
        Ok(NodeSudoers {
            node: hands.row.name.to_string(),
            user: user.as_str().to_owned(),
            path: SUDOERS.to_owned(),
            commands: rules.commands,
            text: rules.text,
        })
    }
}
