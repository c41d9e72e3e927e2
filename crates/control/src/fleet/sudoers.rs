//! The rules of sudo that the login of a node needs.

use portway_deploy::{
    INSTALL_SUDOERS, SUDOERS, SudoPlaces, Sudoers, SudoersError, install_sudoers, sudoers,
};
use portway_model::EngineKind;
use portway_wire::manage::{NodeSudoers, SudoersQuery};

use super::hands::{Hands, unreached};
use crate::{ControlError, rights::Operator};

impl Operator<'_> {
    /// Looks where the programs are on a node, and returns the rules that name them: those of its life,
    /// or those of one installation.
    pub async fn node_sudoers(
        &self,
        node: &str,
        query: &SudoersQuery,
    ) -> Result<NodeSudoers, ControlError> {
        let hands = self.control.hands(node).await?;
        let Some(user) = hands.login() else {
            return Err(ControlError::Conflict(format!(
                "`{}` is on the manager's own machine, where nobody logs in",
                hands.row.name
            )));
        };
        let places = SudoPlaces::see(&*hands.reach, &hands.node).await.map_err(unreached)?;
        let (path, rules) = if query.install {
            (INSTALL_SUDOERS, self.rules_to_install(&hands, user, &places, query).await?)
        } else {
            (SUDOERS, sudoers(&hands.node, user, &places).map_err(conflict)?)
        };
        Ok(NodeSudoers {
            node: hands.row.name.to_string(),
            user: user.as_str().to_owned(),
            path: path.to_owned(),
            commands: rules.commands,
            text: rules.text,
        })
    }

    async fn rules_to_install(
        &self,
        hands: &Hands,
        user: &portway_model::node::SshUser,
        places: &SudoPlaces,
        query: &SudoersQuery,
    ) -> Result<Sudoers, ControlError> {
        let node = &hands.node;
        if node.engine == EngineKind::Edge {
            return Err(ControlError::Conflict(format!(
                "`portway node install {} --dry-run` prints the one rule that an edge needs",
                node.name
            )));
        }
        let prospect = Box::pin(self.control.prospect(&hands.row, node, &query.how())).await?;
        install_sudoers(node, user, places, &prospect).map_err(conflict)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` passes")]
fn conflict(error: SudoersError) -> ControlError {
    ControlError::Conflict(error.to_string())
}
