//! The settings of whoever answers.

use portway_model::{
    FieldPath,
    site::{Action, FileRoot, Redirect, Respond, Side, Split, defaults},
};

use super::{List, Value};
use crate::Setting;

impl<'a> List<'a> {
    pub(super) fn action(&mut self, action: &'a Action, at: &FieldPath) {
        match action {
            Action::Proxy(upstream) => {
                self.usual(Setting::Proxy, &at.key("to"));
                self.upstream(upstream, &at.key("to"));
            }
            Action::Split(split) => self.split(split, &at.key("split")),
            Action::Files(root) => self.files(root, &at.key("files")),
            Action::Redirect(redirect) => self.redirect(redirect, &at.key("redirect")),
            Action::Respond(respond) => self.respond(respond, &at.key("respond")),
        }
    }

    fn split(&mut self, split: &'a Split, at: &FieldPath) {
        let Split { sides, sticky } = split;
        self.add(Setting::Split, at);
        if sticky.is_some() {
            self.add(Setting::SplitSticky, &at.key("sticky"));
        }
        for (index, side) in sides.iter().enumerate() {
            let Side { name: _, weight: _, rules, upstream } = side;
            let at = at.key("sides").index(index);
            if !rules.is_empty() {
                self.add(Setting::SplitRules, &at.key("by"));
            }
            self.upstream(upstream, &at.key("to"));
        }
    }

    fn files(&mut self, files: &'a FileRoot, at: &FieldPath) {
        let FileRoot { root, index, cache_control, spa, listing, precompressed } = files;
        self.text(Setting::Files, &at.key("root"), root.as_str());
        for (place, name) in index.iter().enumerate() {
            let value = Value::Text(name);
            let is_usual = name == defaults::INDEX;
            self.put(Setting::FilesIndex, &at.key("index").index(place), value, is_usual);
        }
        let value = Value::Text(cache_control);
        let is_usual = cache_control == defaults::CACHE_CONTROL;
        self.put(Setting::CacheControl, &at.key("cache_control"), value, is_usual);
        if *spa {
            self.add(Setting::Spa, &at.key("spa"));
        }
        if *listing {
            self.add(Setting::Listing, &at.key("listing"));
        }
        if *precompressed {
            self.usual(Setting::Precompressed, &at.key("precompressed"));
        }
    }

    fn redirect(&mut self, redirect: &'a Redirect, at: &FieldPath) {
        let Redirect { to, status: _, keep_path } = redirect;
        self.text(Setting::Redirect, &at.key("to"), to);
        if *keep_path {
            self.add(Setting::RedirectKeepPath, &at.key("keep_path"));
        }
    }

    fn respond(&mut self, respond: &'a Respond, at: &FieldPath) {
        let Respond { status, body: _, content_type: _ } = respond;
        self.put(Setting::Respond, at, Value::Number(u64::from(*status)), false);
    }
}
