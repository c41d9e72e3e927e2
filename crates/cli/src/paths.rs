//! Where things are: the data folder, what lies in it, and the folders of the user.

use camino::{Utf8Path, Utf8PathBuf};

use crate::exit::Failure;

/// The data folder of an installation that root runs.
pub(crate) const SYSTEM_DATA: &str = "/var/lib/portway";

/// What of the process decides where things are.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    /// Whether root runs it.
    pub(crate) is_root: bool,
    /// The environment.
    pub(crate) variable: &'a dyn Fn(&str) -> Option<String>,
}

/// The data folder and what lies in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Paths {
    /// The data folder.
    pub(crate) data: Utf8PathBuf,
}

impl Paths {
    /// Returns the paths below `data`, or below the folder that is usual here.
    pub(crate) fn find(
        data: Option<&Utf8Path>,
        surroundings: Surroundings<'_>,
    ) -> Result<Self, Failure> {
        let data = match data {
            Some(data) => data.to_owned(),
            None if surroundings.is_root => Utf8PathBuf::from(SYSTEM_DATA),
            None => user_folder(surroundings, "XDG_DATA_HOME", ".local/share")?,
        };
        let absolute = camino::absolute_utf8(&data)
            .map_err(|error| Failure::failed(format!("{data} cannot be found")).because(&error))?;
        Ok(Self { data: absolute })
    }

    /// Returns the manager's local socket.
    pub(crate) fn socket(&self) -> Utf8PathBuf {
        self.data.join("portway.sock")
    }

    /// Returns the configuration file.
    pub(crate) fn config(&self) -> Utf8PathBuf {
        self.data.join("config.yaml")
    }

    /// Returns the file of the key that seals secrets.
    pub(crate) fn key(&self) -> Utf8PathBuf {
        self.data.join("master.key")
    }

    /// Returns the file with the public name of the console.
    pub(crate) fn console(&self) -> Utf8PathBuf {
        self.data.join("console.json")
    }

    /// Returns the file in which the manager writes down the settings that it has.
    pub(crate) fn manager(&self) -> Utf8PathBuf {
        self.data.join("manager.json")
    }

    /// Returns the file in which the manager writes down the address of its database.
    pub(crate) fn database(&self) -> Utf8PathBuf {
        self.data.join("manager.database")
    }

    /// Returns the folder of the edge that the manager starts.
    pub(crate) fn edge(&self) -> Utf8PathBuf {
        self.data.join("edge")
    }
}

/// Returns the folder in which logins are kept.
pub(crate) fn config_folder(surroundings: Surroundings<'_>) -> Result<Utf8PathBuf, Failure> {
    user_folder(surroundings, "XDG_CONFIG_HOME", ".config")
}

/// Returns `portway` below a folder of the XDG Base Directory Specification; a relative value is
/// ignored, as it says.
fn user_folder(
    surroundings: Surroundings<'_>,
    variable: &str,
    below_home: &str,
) -> Result<Utf8PathBuf, Failure> {
    let value = |name: &str| (surroundings.variable)(name).map(Utf8PathBuf::from);
    let chosen = value(variable).filter(|path| path.is_absolute());
    let usual =
        || value("HOME").filter(|path| path.is_absolute()).map(|home| home.join(below_home));
    let base = chosen.or_else(usual).ok_or_else(|| {
        Failure::failed("the home folder is not known").help("set HOME, or name a folder by --data")
    })?;
    Ok(base.join("portway"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(is_root: bool, environment: &[(&str, &str)]) -> Result<String, Failure> {
        let variable = |name: &str| {
            environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        let surroundings = Surroundings { is_root, variable: &variable };
        Paths::find(None, surroundings).map(|paths| paths.data.into_string())
    }

    #[test]
    fn root_keeps_data_with_the_system() {
        assert_eq!(data(true, &[("HOME", "/root")]).unwrap(), "/var/lib/portway");
    }

    #[test]
    fn others_keep_data_where_xdg_says() {
        let home = ("HOME", "/home/ann");
        assert_eq!(data(false, &[home]).unwrap(), "/home/ann/.local/share/portway");
        let chosen = ("XDG_DATA_HOME", "/data/ann");
        assert_eq!(data(false, &[home, chosen]).unwrap(), "/data/ann/portway");
        let relative = ("XDG_DATA_HOME", "data");
        assert_eq!(data(false, &[home, relative]).unwrap(), "/home/ann/.local/share/portway");
        assert_eq!(data(false, &[]).unwrap_err().exit, crate::exit::Exit::Failed);
    }

    #[test]
    fn what_is_given_wins_and_becomes_absolute() {
        let nothing = |_: &str| None;
        let surroundings = Surroundings { is_root: true, variable: &nothing };
        let paths = Paths::find(Some("some/data".into()), surroundings).unwrap();
        assert!(paths.data.is_absolute() && paths.data.ends_with("some/data"));
        assert_eq!(paths.socket(), paths.data.join("portway.sock"));
    }
}
