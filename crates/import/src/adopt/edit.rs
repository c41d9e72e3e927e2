//! From a difference to the setting of the site that it changes.

use portway_model::{
    Name, SiteSpec,
    site::{
        Match, check,
        spec::{
            AccessRulesSpec, AccessSpec, DurationSpec, LimitsSpec, PoolSpec, RedirectSettingsSpec,
            RedirectSpec, RespondSpec, RetriesSettingsSpec, RetriesSpec, RouteSpec, SizeSpec,
            SplitSpec, TimeoutsSpec, ToSpec, UpstreamSpec,
        },
    },
};

use super::{
    headers, targets,
    tree::{Difference, Item},
};
use crate::nginx::units;

/// Why most of what stands in a file is no setting of a site.
const NOTHING_SAYS_IT: &str = "nothing in a site says this";
/// A dollar sign as Portway writes it, and a text without characters.
const DOLLAR: &str = "${portway_dollar}";
const EMPTY: &str = "$portway_empty";

/// A site that is being changed.
pub(super) struct Editing<'a> {
    pub(super) original: &'a SiteSpec,
    pub(super) spec: SiteSpec,
    /// Where the routes stand in the site, in the order in which they are written for engines.
    routes: Vec<Option<usize>>,
}

/// The upstream that a part of a file was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) route: usize,
    /// The side of a split.
    pub(super) side: Option<usize>,
}

impl<'a> Editing<'a> {
    pub(super) fn new(original: &'a SiteSpec) -> Self {
        Self { original, spec: original.clone(), routes: order_of(original) }
    }

    pub(super) fn into_spec(self) -> SiteSpec {
        self.spec
    }

    /// Takes a difference up, or says why that cannot be.
    pub(super) fn take(&mut self, difference: &Difference<'_>) -> Result<(), String> {
        let place = place(difference).map(|place| self.written(place)).transpose()?;
        if is_in_upstream(difference) {
            return self.upstream(difference, place.ok_or(NOTHING_SAYS_IT)?);
        }
        match place {
            Some(place) if difference.within.len() == 1 => self.route(difference, place),
            None if difference.within.is_empty() => self.server(difference),
            Some(_) | None => Err(NOTHING_SAYS_IT.to_owned()),
        }
    }

    /// Returns a place with the number that its route has in the site.
    fn written(&self, place: Place) -> Result<Place, String> {
        let route = self.routes.get(place.route).copied().flatten();
        let route = route.ok_or("several routes of the site match the same requests")?;
        Ok(Place { route, ..place })
    }

    /// What stands in the server itself.
    fn server(&mut self, difference: &Difference<'_>) -> Result<(), String> {
        match difference.name() {
            "server_name" => {
                let names = difference.beside.1.iter().filter(|item| item.name() == "server_name");
                self.spec.hosts =
                    names.map(|item| host(item.arg(0))).collect::<Result<Vec<_>, _>>()?;
                Ok(())
            }
            "client_body_timeout" => self.limit(difference, |limits| &mut limits.body_grace),
            "send_timeout" => self.limit(difference, |limits| &mut limits.write_stall),
            "client_header_timeout" => self.limit(difference, |limits| &mut limits.header_time),
            "http2_max_concurrent_streams" => {
                let streams = number(difference)?;
                self.spec.limits.get_or_insert_default().http2_streams = Some(streams);
                Ok(())
            }
            _ => Err(NOTHING_SAYS_IT.to_owned()),
        }
    }

    fn limit(
        &mut self,
        difference: &Difference<'_>,
        field: fn(&mut LimitsSpec) -> &mut Option<DurationSpec>,
    ) -> Result<(), String> {
        *field(self.spec.limits.get_or_insert_default()) = Some(time(difference)?);
        Ok(())
    }

    /// What stands in the location that carries a route out.
    fn route(&mut self, difference: &Difference<'_>, place: Place) -> Result<(), String> {
        let name = difference.name();
        match name {
            "client_max_body_size" => {
                let size = changed(difference)?.arg(0);
                let bytes = units::bytes(size).filter(|bytes| *bytes > 0);
                let bytes = bytes.ok_or("a site has bodies of some size, at least one byte")?;
                *self.own(place.route, |site| &mut site.max_body, |route| &mut route.max_body)? =
                    Some(SizeSpec::Bytes(bytes));
                Ok(())
            }
            "allow" | "deny" => self.access(difference, place),
            "add_header" => headers::answer(self, difference, place),
            "return" => self.answer(difference, place),
            "default_type" => {
                let content_type = changed(difference)?.arg(0).to_owned();
                self.respond(place)?.content_type = Some(content_type);
                Ok(())
            }
            _ => match name.split_once('_') {
                Some(("proxy" | "grpc", "set_header")) => headers::request(self, difference, place),
                Some(("proxy" | "grpc", "hide_header")) => headers::hidden(self, difference, place),
                Some(("proxy" | "grpc", rest)) => self.speaking(rest, difference, place),
                _ => Err(NOTHING_SAYS_IT.to_owned()),
            },
        }
    }

    /// How an upstream is spoken with.
    fn speaking(
        &mut self,
        rest: &str,
        difference: &Difference<'_>,
        place: Place,
    ) -> Result<(), String> {
        let field: fn(&mut TimeoutsSpec) -> &mut Option<DurationSpec> = match rest {
            "connect_timeout" => |timeouts| &mut timeouts.connect,
            "send_timeout" => |timeouts| &mut timeouts.send,
            "read_timeout" => {
                // nginx has one time for both.
                let time = time(difference)?;
                let timeouts = self.upstream_of(place)?.timeouts.get_or_insert_default();
                (timeouts.first_byte, timeouts.silence) = (Some(time.clone()), Some(time));
                return Ok(());
            }
            "next_upstream_tries" => {
                let tries: u32 = number(difference)?;
                let attempts = tries.checked_sub(1).filter(|attempts| *attempts > 0);
                let attempts = attempts.ok_or("`retries: false` is another setting of nginx")?;
                let retries = &mut self.upstream_of(place)?.retries;
                let budget = match retries.take() {
                    Some(RetriesSpec::Settings(settings)) => settings.budget,
                    Some(RetriesSpec::Enabled(_)) | None => None,
                };
                let settings = RetriesSettingsSpec { attempts: Some(attempts), budget };
                *retries = Some(RetriesSpec::Settings(settings));
                return Ok(());
            }
            _ => return Err(NOTHING_SAYS_IT.to_owned()),
        };
        let time = time(difference)?;
        *field(self.upstream_of(place)?.timeouts.get_or_insert_default()) = Some(time);
        Ok(())
    }

    /// What stands in the block of an upstream.
    fn upstream(&mut self, difference: &Difference<'_>, place: Place) -> Result<(), String> {
        match difference.name() {
            "server" => targets::take(self, difference, place),
            "keepalive" => {
                let most = number(difference)?;
                let pool: &mut PoolSpec = self.upstream_of(place)?.pool.get_or_insert_default();
                pool.max_idle = Some(most);
                Ok(())
            }
            _ => Err(NOTHING_SAYS_IT.to_owned()),
        }
    }

    /// Who may use a route. What is denied comes first, and at last all others.
    fn access(&mut self, difference: &Difference<'_>, place: Place) -> Result<(), String> {
        let (mut allow, mut deny, mut end) = (Vec::new(), Vec::new(), None);
        let rules =
            difference.beside.1.iter().filter(|item| matches!(item.name(), "allow" | "deny"));
        for rule in rules {
            let network = rule.arg(0).to_owned();
            match (rule.name(), network.as_str()) {
                _ if end.is_some() => return Err("no rule behind `all` counts".to_owned()),
                (name, "all") => end = Some(name.to_owned()),
                ("deny", _) if allow.is_empty() => deny.push(network),
                ("allow", _) => allow.push(network),
                _ => return Err("a site says first who may not, then who may".to_owned()),
            }
        }
        let allow = match (end.as_deref(), allow.is_empty()) {
            (Some("deny"), _) => Some(allow),
            (None | Some("allow"), true) => None,
            (None | Some(_), _) => {
                return Err("who is allowed is let in anyway; end the rules with `deny all`".into());
            }
        };
        let access = self.own(place.route, |site| &mut site.access, |route| &mut route.access)?;
        let basic = match access.take() {
            Some(AccessSpec::Rules(rules)) => rules.basic,
            Some(AccessSpec::Word(_)) | None => None,
        };
        if allow.is_some() || !deny.is_empty() || basic.is_some() {
            *access = Some(AccessSpec::Rules(AccessRulesSpec { allow, deny, basic }));
        }
        Ok(())
    }

    /// What nginx answers by itself.
    fn answer(&mut self, difference: &Difference<'_>, place: Place) -> Result<(), String> {
        let answer = changed(difference)?;
        if difference.before.is_none() {
            return Err("the route does something else; give the site another action".to_owned());
        }
        let status: u16 = answer.arg(0).parse().map_err(|_| NOTHING_SAYS_IT)?;
        let text = plain(answer.arg(1))?;
        let redirect =
            self.own(place.route, |site| &mut site.redirect, |route| &mut route.redirect)?;
        if let Some(redirect) = redirect {
            let keep_path = match redirect {
                RedirectSpec::Settings(settings) => settings.keep_path,
                RedirectSpec::To(_) => None,
            };
            let settings = RedirectSettingsSpec { to: text, status: Some(status), keep_path };
            *redirect = RedirectSpec::Settings(settings);
            return Ok(());
        }
        let respond = self.respond(place)?;
        (respond.status, respond.body) = (Some(status), Some(text));
        Ok(())
    }

    fn respond(&mut self, place: Place) -> Result<&mut RespondSpec, String> {
        let respond =
            self.own(place.route, |site| &mut site.respond, |route| &mut route.respond)?;
        respond.as_mut().ok_or_else(|| NOTHING_SAYS_IT.to_owned())
    }

    /// Returns a setting of a route, where it is said: at the site, where that has no other route,
    /// and otherwise at the route, which then no longer takes it from the site.
    pub(super) fn own<T: Clone>(
        &mut self,
        route: usize,
        of_site: fn(&mut SiteSpec) -> &mut Option<T>,
        of_route: fn(&mut RouteSpec) -> &mut Option<T>,
    ) -> Result<&mut Option<T>, String> {
        let is_alone = self.spec.routes.len() < 2;
        let inherited = of_site(&mut self.spec).clone();
        if self.spec.routes.is_empty() {
            return Ok(of_site(&mut self.spec));
        }
        let own = self.spec.routes.get_mut(route).map(&of_route);
        let is_its_own = own.ok_or(NOTHING_SAYS_IT)?.is_some();
        if is_alone && !is_its_own && inherited.is_some() {
            return Ok(of_site(&mut self.spec));
        }
        let route = self.spec.routes.get_mut(route).ok_or(NOTHING_SAYS_IT)?;
        let own = of_route(route);
        if own.is_none() {
            *own = inherited;
        }
        Ok(own)
    }

    /// Returns an upstream with settings.
    pub(super) fn upstream_of(&mut self, place: Place) -> Result<&mut UpstreamSpec, String> {
        let to = to_of(&mut self.spec, place).ok_or(NOTHING_SAYS_IT)?;
        let targets = match to {
            ToSpec::Upstream(_) => Vec::new(),
            ToSpec::One(one) => vec![one.clone().into()],
            ToSpec::Many(many) => many.clone(),
        };
        if !targets.is_empty() {
            *to = ToSpec::Upstream(Box::new(UpstreamSpec { targets, ..UpstreamSpec::default() }));
        }
        match to {
            ToSpec::Upstream(upstream) => Ok(upstream),
            ToSpec::One(_) | ToSpec::Many(_) => Err(NOTHING_SAYS_IT.to_owned()),
        }
    }
}

/// Engines are given routes in the order in which they are tried. Returns where each of them stands in
/// the site; nothing where that cannot be told.
fn order_of(spec: &SiteSpec) -> Vec<Option<usize>> {
    let Some(name) = Name::suggest("site") else { return Vec::new() };
    let matches = |spec: &SiteSpec| -> Vec<Match> {
        let routes = check(&name, spec).0.map(|site| site.routes).unwrap_or_default();
        routes.into_iter().map(|route| route.matches).collect()
    };
    if spec.routes.is_empty() {
        return vec![Some(0)];
    }
    let alone = |route: &RouteSpec| SiteSpec { routes: vec![route.clone()], ..spec.clone() };
    let each: Vec<Vec<Match>> = spec.routes.iter().map(|route| matches(&alone(route))).collect();
    let place_of = |wanted: &Match| {
        let mut found = each
            .iter()
            .enumerate()
            .filter(|(_, one)| one.first() == Some(wanted))
            .map(|(at, _)| at);
        found.next().filter(|_| found.next().is_none())
    };
    matches(spec).iter().map(place_of).collect()
}

/// Returns where an upstream is said.
pub(super) fn to_of(spec: &mut SiteSpec, place: Place) -> Option<&mut ToSpec> {
    let (to, split) = if spec.routes.is_empty() {
        (&mut spec.to, &mut spec.split)
    } else {
        let route = spec.routes.get_mut(place.route)?;
        (&mut route.to, &mut route.split)
    };
    let Some(side) = place.side else { return to.as_mut() };
    let sides = match split.as_mut()? {
        SplitSpec::Sides(sides) => sides,
        SplitSpec::Settings(settings) => &mut settings.sides,
    };
    sides.get_mut(side)?.to.as_mut()
}

/// Tells whether a difference stands in the block of an upstream.
pub(super) fn is_in_upstream(difference: &Difference<'_>) -> bool {
    difference.within.last().is_some_and(|(block, _)| block.name() == "upstream")
}

/// Returns what a difference belongs to, by the name of the block that it stands in: locations are
/// `@route_1`, `@route_1_answer` and `@route_1_side_2`, upstreams end in `_r1` or `_r1_s2`.
fn place(difference: &Difference<'_>) -> Option<Place> {
    let (block, _) = difference.within.last()?;
    let (rest, side) = match block.name() {
        "location" => (block.arg(0).strip_prefix("@route_")?, "side_"),
        "upstream" => (block.arg(0).strip_prefix("portway_")?.split_once("_r")?.1, "s"),
        _ => return None,
    };
    let (route, rest) = rest.split_once('_').map_or((rest, None), |(one, two)| (one, Some(two)));
    let side = rest.and_then(|rest| rest.strip_prefix(side));
    let side = side.map(str::parse).transpose().ok()?;
    Some(Place { route: route.parse().ok()?, side })
}

/// Returns what a directive is by now; what is gone has no value.
pub(super) fn changed<'a>(difference: &Difference<'a>) -> Result<&'a Item, String> {
    difference.after.ok_or_else(|| {
        "it was taken away, and what nginx does without it is no setting of a site".to_owned()
    })
}

fn time(difference: &Difference<'_>) -> Result<DurationSpec, String> {
    let seconds = units::seconds(changed(difference)?.arg(0)).ok_or("it is no time")?;
    Ok(DurationSpec::Text(format!("{seconds}s")))
}

fn number<T: std::str::FromStr>(difference: &Difference<'_>) -> Result<T, String> {
    changed(difference)?.arg(0).parse().map_err(|_| "it is no number that a site takes".to_owned())
}

/// Returns the text that a value stands for.
pub(super) fn plain(value: &str) -> Result<String, String> {
    if value == EMPTY {
        return Ok(String::new());
    }
    let parts: Vec<&str> = value.split(DOLLAR).collect();
    if parts.iter().any(|part| part.contains('$')) {
        return Err("it depends on a variable of nginx".to_owned());
    }
    Ok(parts.join("$"))
}

/// Returns the host that a name stands for.
fn host(name: &str) -> Result<String, String> {
    if name == "~." || name.is_empty() {
        return Ok("*".to_owned());
    }
    let Some(expression) = name.strip_prefix('~') else {
        if name.starts_with(['*', '.']) || name.ends_with('*') {
            return Err(
                "a star of nginx stands for any number of labels, that of a site for one".into()
            );
        }
        return Ok(name.trim_matches(['[', ']']).to_owned());
    };
    let whole = expression.strip_prefix('^').and_then(|rest| rest.strip_suffix('$'));
    let whole = whole.ok_or("hosts of a site are no expressions")?;
    match whole.strip_prefix("[^.]+\\.") {
        Some(rest) => Ok(format!("*.{}", unescaped(rest)?)),
        None => unescaped(whole),
    }
}

/// Undoes `\x2e` and its like.
fn unescaped(text: &str) -> Result<String, String> {
    let mut parts = text.split("\\x");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok());
        let code = code.filter(u8::is_ascii).ok_or("hosts of a site are no expressions")?;
        plain.push(char::from(code));
        plain.push_str(part.get(2..).unwrap_or_default());
    }
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    if plain.chars().all(is_name) {
        Ok(plain)
    } else {
        Err("hosts of a site are no expressions".into())
    }
}
