//! Paths in a site: relative ones are meant from the folder of the file they stand in. Password
//! files, lists of redirects, certificates and keys are read and take the place of their paths.

use std::{io, sync::Arc};

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use portway_model::{
    FieldPath, FindingCode, SiteSpec,
    site::spec::{
        AccessRulesSpec, AccessSpec, BasicAuthSpec, ClientKeySpec, FileSettingsSpec, FilesSpec,
        PasswordSpec, RedirectListSpec, RedirectRuleSpec, TargetSpec, ToSpec, UpstreamTlsSpec,
    },
};

use crate::{
    files::Files,
    htpasswd, redirects,
    source::{Pos, SourceFile},
    walk::Walker,
};

/// Makes every path in a site absolute and reads the files that belong into it.
pub(crate) fn resolve(spec: &mut SiteSpec, walker: &mut Walker<'_>, reader: &dyn Files) {
    let mut resolver = Resolver { walker, reader };
    let root = FieldPath::root();
    resolver.files(&mut spec.files, &root.key("files"));
    resolver.access(&mut spec.access, &root.key("access"));
    resolver.redirects(&mut spec.redirects, &root.key("redirects"));
    for (index, route) in spec.routes.iter_mut().enumerate() {
        let path = resolver.walker.original(&root.key("routes").index(index));
        resolver.files(&mut route.files, &path.key("files"));
        resolver.access(&mut route.access, &path.key("access"));
    }
    for (path, to) in spec.upstreams_mut() {
        let path = resolver.walker.original(&path);
        resolver.upstream(to, &path);
    }
}

struct Resolver<'a, 'w> {
    walker: &'a mut Walker<'w>,
    reader: &'a dyn Files,
}

impl Resolver<'_, '_> {
    fn files(&mut self, files: &mut Option<FilesSpec>, path: &FieldPath) {
        match files {
            Some(FilesSpec::Root(root)) => self.make_absolute(root, path),
            Some(FilesSpec::Settings(FileSettingsSpec { root, .. })) => {
                self.make_absolute(root, &path.key("root"));
            }
            None => {}
        }
    }

    fn upstream(&mut self, to: &mut ToSpec, path: &FieldPath) {
        match to {
            ToSpec::One(target) => self.target(target, path),
            ToSpec::Many(targets) => self.targets(targets, path),
            ToSpec::Upstream(upstream) => {
                self.targets(&mut upstream.targets, &path.key("targets"));
                if let Some(tls) = &mut upstream.tls {
                    self.tls(tls, &path.key("tls"));
                }
            }
        }
    }

    fn targets(&mut self, targets: &mut [TargetSpec], path: &FieldPath) {
        for (index, target) in targets.iter_mut().enumerate() {
            let path = self.walker.original(&path.index(index));
            let path = match target {
                TargetSpec::To(_) => path,
                TargetSpec::Settings(_) => path.key("to"),
            };
            self.target(target.text_mut(), &path);
        }
    }

    fn target(&mut self, target: &mut String, path: &FieldPath) {
        for scheme in ["unix:", "unix+h2c:"] {
            let Some(socket) = target.strip_prefix(scheme).filter(|socket| !socket.is_empty())
            else {
                continue;
            };
            let mut socket = socket.to_owned();
            self.make_absolute(&mut socket, path);
            *target = format!("{scheme}{socket}");
            return;
        }
    }

    fn make_absolute(&mut self, text: &mut String, path: &FieldPath) {
        if text.starts_with('/') || text.is_empty() {
            return;
        }
        if text == "~" || text.starts_with("~/") {
            let pos = self.walker.positions.pos(path);
            self.walker
                .report
                .field(
                    FindingCode::InvalidPath,
                    self.walker.resource,
                    path,
                    pos,
                    "`~` stands for no folder here",
                )
                .remedy("write `${HOME}` instead, or the whole path");
        }
        if let Some(pos) = self.walker.positions.pos(path) {
            *text = join(&pos.file.folder, text).into_string();
        }
    }

    fn tls(&mut self, tls: &mut UpstreamTlsSpec, path: &FieldPath) {
        if let Some(ca) = &mut tls.ca {
            self.pem(ca, "CERTIFICATE", &path.key("ca"));
        }
        if let Some(certificate) = &mut tls.client_certificate {
            self.pem(certificate, "CERTIFICATE", &path.key("client_certificate"));
        }
        if let Some(ClientKeySpec::Pem(key)) = &mut tls.client_key {
            self.pem(key, "PRIVATE KEY", &path.key("client_key"));
        }
    }

    /// Reads what is a path and no PEM yet.
    fn pem(&mut self, text: &mut String, label: &str, path: &FieldPath) {
        if text.contains("-----BEGIN") || text.is_empty() {
            return;
        }
        self.make_absolute(text, path);
        match self.reader.read(Utf8Path::new(text)) {
            // Not repeated in a finding when it is no PEM: it may be anything.
            Ok(content) => *text = content,
            Err(error) => {
                self.unreadable(text, &error, path);
                // A sound stand-in, so that the one fault is reported once.
                *text = format!("-----BEGIN {label}-----\n-----END {label}-----");
            }
        }
    }

    fn access(&mut self, access: &mut Option<AccessSpec>, path: &FieldPath) {
        let Some(AccessSpec::Rules(AccessRulesSpec { basic: Some(basic), .. })) = access else {
            return;
        };
        let path = path.key("basic");
        let Some(mut file) = basic.htpasswd.take() else {
            return;
        };
        let path_of_file = path.key("htpasswd");
        self.make_absolute(&mut file, &path_of_file);
        match self.reader.read(Utf8Path::new(&file)) {
            Ok(text) => self.take_users(&text, &file, basic, &path),
            Err(error) => {
                self.unreadable(&file, &error, &path_of_file);
                self.walker.dropped.push(path.key("users"));
            }
        }
    }

    fn take_users(&mut self, text: &str, name: &str, basic: &mut BasicAuthSpec, path: &FieldPath) {
        let source = Arc::new(SourceFile { name: name.to_owned(), folder: Utf8PathBuf::new() });
        let users = path.key("users");
        for (line, read) in htpasswd::read_htpasswd(text) {
            let pos = Pos { file: Arc::clone(&source), line, column: 1 };
            let Ok((user, hash)) = read else {
                self.walker
                    .report
                    .place(FindingCode::Syntax, &pos, "this line is not `name:hash`")
                    .remedy("write lines as `htpasswd -nB NAME` prints them");
                self.walker.dropped.push(users.clone());
                continue;
            };
            if basic.users.contains_key(&user) {
                let text = format!("the user `{}` is there already", user.escape_debug());
                self.walker
                    .report
                    .place(FindingCode::DuplicateField, &pos, text)
                    .remedy("remove the line, or the user in the site file");
                continue;
            }
            self.walker.positions.set(users.key(&user), pos);
            basic.users.insert(user, PasswordSpec::Hash(hash));
        }
        if basic.users.is_empty() && !self.walker.is_incomplete(&users) {
            let pos = Pos { file: source, line: 1, column: 1 };
            self.walker
                .report
                .place(
                    FindingCode::MissingField,
                    &pos,
                    "the file has no users, so nobody can log in",
                )
                .remedy("add lines as `htpasswd -nB NAME` prints them");
            self.walker.dropped.push(users);
        }
    }

    /// Takes the lines of a file over.
    fn redirects(&mut self, list: &mut Option<RedirectListSpec>, path: &FieldPath) {
        let Some(RedirectListSpec::File(file)) = list else { return };
        let mut name = std::mem::take(file);
        self.make_absolute(&mut name, path);
        let mut rules = Vec::new();
        match self.reader.read(Utf8Path::new(&name)) {
            Ok(text) => self.take_redirects(&text, &name, &mut rules, path),
            Err(error) => self.unreadable(&name, &error, path),
        }
        *list = Some(RedirectListSpec::Rules(rules));
    }

    fn take_redirects(
        &mut self,
        text: &str,
        name: &str,
        rules: &mut Vec<RedirectRuleSpec>,
        path: &FieldPath,
    ) {
        let source = Arc::new(SourceFile { name: name.to_owned(), folder: Utf8PathBuf::new() });
        for (line, read) in redirects::read(text) {
            let pos = Pos { file: Arc::clone(&source), line, column: 1 };
            match read {
                Ok(rule) => {
                    self.walker.positions.set(path.index(rules.len()), pos);
                    rules.push(rule);
                }
                Err(error) => {
                    self.walker.report.place(FindingCode::Syntax, &pos, error.to_string()).remedy(
                        "write for example `/old,/new` or `/old/*,https://example.org,308`",
                    );
                }
            }
        }
    }

    fn unreadable(&mut self, file: &str, error: &io::Error, path: &FieldPath) {
        let (text, remedy) = if error.kind() == io::ErrorKind::NotFound {
            let remedy = "a relative path is meant from the folder of the site file";
            (format!("there is no file `{file}`"), remedy)
        } else if error.kind() == io::ErrorKind::PermissionDenied {
            let remedy = "let the user who applies the site file read it";
            (format!("`{file}` may not be read"), remedy)
        } else {
            (format!("`{file}` cannot be read: {error}"), "name a readable file of text")
        };
        let pos = self.walker.positions.pos(path);
        self.walker
            .report
            .field(FindingCode::UnreadableFile, self.walker.resource, path, pos, text)
            .remedy(remedy);
    }
}

/// Joins a relative path to a folder, without `.` and `..`.
fn join(folder: &Utf8Path, text: &str) -> Utf8PathBuf {
    let mut whole = Utf8PathBuf::new();
    for component in folder.join(text).components() {
        match component {
            Utf8Component::CurDir => {}
            Utf8Component::ParentDir => {
                whole.pop();
            }
            Utf8Component::Prefix(_) | Utf8Component::RootDir | Utf8Component::Normal(_) => {
                whole.push(component);
            }
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_is_meant_from_the_folder() {
        let join = |text| join(Utf8Path::new("/srv/site"), text).into_string();
        assert_eq!(join("www"), "/srv/site/www");
        assert_eq!(join("./www/./x"), "/srv/site/www/x");
        assert_eq!(join("../www"), "/srv/www");
        assert_eq!(join("../../../../www"), "/www");
        assert_eq!(join("/www"), "/www");
    }
}
