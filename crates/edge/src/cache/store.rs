//! Kept answers, in memory that all sites of an edge share.
//!
//! A URL has one entry with all its variants, so that it is found, replaced and taken away at once, and
//! so that one URL never has more variants than a few. What is asked for often stays; what was asked for
//! once goes first.

mod kept;
mod purging;

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http::HeaderMap;
use portway_model::{Id, Site};
use portway_policy::bundle::PurgeWhat;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter, sync::Cache as Memory};

pub(crate) use self::kept::Kept;
use self::{
    kept::OVERHEAD,
    purging::{Purging, is_meant, is_tagged},
};
use super::{
    flights::Flights,
    key::Key,
    question::Personal,
    vary::{Own, Variant},
};

/// So many locks, that hardly two writers meet at one.
const WRITERS: usize = 64;

/// More variants than an honest URL has.
const MOST_VARIANTS: usize = 32;

/// The memory of each part of the store: an answer of the usual greatest size takes a third of one.
const PART: u64 = 32_000_000;

/// How long it is remembered that answers to a URL were for nobody else.
const REFUSED_FOR: Duration = Duration::from_secs(30);

/// What is found for a request.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The answer.
    pub(crate) kept: Option<Arc<Kept>>,
    /// Whether there is one for other requests for the same URL.
    pub(crate) has_others: bool,
    /// Until when it is known that answers to its URL are for nobody else, by who asks.
    refused: Vec<(Personal, Instant)>,
}

impl Found {
    /// Tells whether answers to such requests for its URL were for nobody else of late.
    pub(crate) fn is_refused(&self, personal: Personal) -> bool {
        self.refused.iter().any(|(who, until)| *who == personal && Instant::now() < *until)
    }
}

/// How much is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// The number of answers.
    pub(crate) objects: u64,
    /// The memory that they take.
    pub(crate) bytes: u64,
}

/// Kept answers.
#[derive(Debug)]
pub(crate) struct Store {
    memory: Memory<Key, Arc<UrlEntry>, Weigher, DefaultHashBuilder, Evictions>,
    flights: Arc<Flights>,
    /// Held while an entry is put in the place of another one, by keys.
    writing: Vec<Mutex<()>>,
    hasher: RandomState,
    purging: Purging,
    evicted: Arc<AtomicU64>,
}

#[derive(Debug)]
struct UrlEntry {
    /// The latest one last.
    variants: Vec<(Variant, Arc<Kept>)>,
    weight: u64,
    /// Until when nobody waits for an answer of which nothing is kept, by who asks.
    refused: Vec<(Personal, Instant)>,
}

#[derive(Clone, Debug)]
struct Weigher;

#[derive(Clone, Debug)]
struct Evictions(Arc<AtomicU64>);

impl Weighter<Key, Arc<UrlEntry>> for Weigher {
    fn weight(&self, _: &Key, entry: &Arc<UrlEntry>) -> u64 {
        entry.weight
    }
}

impl Lifecycle<Key, Arc<UrlEntry>> for Evictions {
    /// What goes is freed after the lock is.
    type RequestState = Vec<Arc<UrlEntry>>;

    fn on_evict(&self, state: &mut Self::RequestState, _: Key, entry: Arc<UrlEntry>) {
        self.0.fetch_add(u64::try_from(entry.variants.len()).unwrap_or(0), Relaxed);
        state.push(entry);
    }
}

impl UrlEntry {
    /// Holds so many of the latest variants as have a place together.
    fn of(key: &Key, mut variants: Vec<(Variant, Arc<Kept>)>, most: u64) -> Self {
        let bare = length(key.weight() + OVERHEAD);
        let weigh = |(variant, kept): &(Variant, Arc<Kept>)| {
            kept.weight().saturating_add(length(variant.weight()))
        };
        let mut weight = variants.iter().map(weigh).fold(bare, u64::saturating_add);
        while variants.len() > 1 && weight > most {
            weight = weight.saturating_sub(weigh(&variants.remove(0)));
        }
        Self { variants, weight, refused: Vec::new() }
    }
}

impl Store {
    /// Returns a store of so many bytes.
    pub(crate) fn new(bytes: u64) -> Arc<Self> {
        let parts = usize::try_from((bytes / PART).clamp(1, 256)).unwrap_or(1);
        let evicted = Arc::<AtomicU64>::default();
        let items = usize::try_from(bytes / 16_384).unwrap_or(usize::MAX).clamp(64, 1 << 22);
        let mut options = OptionsBuilder::new();
        options.shards(parts).weight_capacity(bytes).estimated_items_capacity(items);
        let evictions = Evictions(Arc::clone(&evicted));
        let memory = match options.build() {
            Ok(options) => {
                Memory::with_options(options, Weigher, DefaultHashBuilder::default(), evictions)
            }
            // Every value that is needed was given.
            Err(_) => Memory::with(items, bytes, Weigher, DefaultHashBuilder::default(), evictions),
        };
        let writing = std::iter::repeat_with(Mutex::default).take(WRITERS).collect();
        let (flights, hasher) = (Flights::new(), RandomState::new());
        Arc::new(Self { memory, flights, writing, hasher, purging: Purging::default(), evicted })
    }

    /// Returns the requests that are under way.
    pub(crate) fn flights(&self) -> &Arc<Flights> {
        &self.flights
    }

    /// Returns the largest body that has a place.
    pub(crate) fn largest(&self) -> u64 {
        self.memory.shard_capacity() / 2
    }

    /// Finds the answer to a request with these headers.
    pub(crate) fn find(&self, key: &Key, own: &Own, headers: &HeaderMap) -> Found {
        let Some(entry) = self.memory.get(key) else { return Found::default() };
        // The latest of those that fit (RFC 9111 §4.1).
        let fitting = entry.variants.iter().rev().find(|(variant, _)| variant.fits(own, headers));
        let kept = fitting.map(|(_, kept)| Arc::clone(kept));
        let has_others = kept.is_none() && !entry.variants.is_empty();
        Found { has_others, kept, refused: entry.refused.clone() }
    }

    /// Keeps an answer, in the place of the one for the same requests; not where it is outdated. Tells
    /// whether it is kept.
    pub(crate) fn keep(
        &self,
        key: &Key,
        variant: Variant,
        kept: Kept,
        is_outdated: impl Fn() -> bool,
    ) -> bool {
        let _writing = self.writing(key);
        let before = self.purging.begun();
        // Asked while nobody else writes: whoever takes the URL away makes it outdated first.
        if is_outdated() {
            return false;
        }
        let old = self.memory.peek(key);
        let others = old.iter().flat_map(|entry| &entry.variants);
        let mut variants: Vec<_> = others.filter(|(other, _)| *other != variant).cloned().collect();
        if variants.len() >= MOST_VARIANTS {
            variants.remove(0);
        }
        variants.push((variant, Arc::new(kept)));
        self.put(key, UrlEntry::of(key, variants, self.most()), before)
    }

    /// Notes that an answer was for nobody else, so that requests do not wait for each other in vain.
    pub(crate) fn refuse(&self, key: &Key, personal: Personal) {
        let now = Instant::now();
        let _writing = self.writing(key);
        let before = self.purging.begun();
        let old = self.memory.peek(key);
        let mut refused = old.as_ref().map(|entry| entry.refused.clone()).unwrap_or_default();
        let is_known =
            |(who, until): &(Personal, Instant)| *who == personal && now + REFUSED_FOR / 2 < *until;
        if refused.iter().any(is_known) {
            return;
        }
        refused.retain(|(who, until)| *who != personal && now < *until);
        refused.push((personal, now + REFUSED_FOR));
        let variants = old.map(|entry| entry.variants.clone()).unwrap_or_default();
        self.put(key, UrlEntry { refused, ..UrlEntry::of(key, variants, self.most()) }, before);
    }

    fn put(&self, key: &Key, entry: UrlEntry, before: Option<u64>) -> bool {
        self.memory.insert(key.clone(), Arc::new(entry));
        let is_still = self.purging.is_still(before);
        if !is_still {
            // What was purged meanwhile may have been put back.
            self.memory.remove(key);
        }
        is_still
    }

    /// Returns how much all variants of one URL may take.
    fn most(&self) -> u64 {
        self.memory.shard_capacity() / 4 * 3
    }

    fn writing(&self, key: &Key) -> Option<MutexGuard<'_, ()>> {
        let hash = self.hasher.hash_one(key);
        let at = usize::try_from(hash % u64::try_from(WRITERS).ok()?).ok()?;
        self.writing.get(at).map(|lock| lock.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes away all that is kept under a URL, and what is under way to it.
    pub(crate) fn forget(&self, key: &Key) {
        self.flights.outdate_one(key);
        let _writing = self.writing(key);
        self.memory.remove(key);
    }

    /// Takes one answer away, where it is still kept.
    pub(crate) fn forget_one(&self, key: &Key, one: &Arc<Kept>) {
        let _writing = self.writing(key);
        let before = self.purging.begun();
        let Some(entry) = self.memory.peek(key) else { return };
        let left = entry.variants.iter().filter(|(_, kept)| !Arc::ptr_eq(kept, one));
        let left: Vec<_> = left.cloned().collect();
        if left.is_empty() && entry.refused.is_empty() {
            self.memory.remove(key);
        } else {
            let refused = entry.refused.clone();
            self.put(key, UrlEntry { refused, ..UrlEntry::of(key, left, self.most()) }, before);
        }
    }

    /// Takes away of a site what is wanted; returns how many answers that were.
    pub(crate) fn purge(&self, site: Id<Site>, what: &PurgeWhat) -> u64 {
        // Which tags an answer has is known only once it is there.
        let by_key = |key: &Key| key.is_of(site) && is_meant(what, key).unwrap_or(true);
        self.flights.outdate(by_key);
        let _purging = self.purging.begin();
        let count = AtomicU64::new(0);
        self.memory.retain(|key, entry| {
            let is_meant = key.is_of(site)
                && is_meant(what, key).unwrap_or_else(|| {
                    entry.variants.iter().any(|(_, kept)| is_tagged(what, kept))
                });
            if is_meant {
                count.fetch_add(length(entry.variants.len()), Relaxed);
            }
            !is_meant
        });
        count.into_inner()
    }

    /// Counts what is kept of a site.
    pub(crate) fn tally(&self, site: Id<Site>) -> Tally {
        let mut tally = Tally::default();
        for (_, entry) in self.memory.iter().filter(|(key, _)| key.is_of(site)) {
            tally.objects += length(entry.variants.len());
            tally.bytes += entry.weight;
        }
        tally
    }

    /// Returns how much memory all that is kept takes.
    pub(crate) fn used(&self) -> u64 {
        self.memory.weight()
    }

    /// Returns how much it may take.
    pub(crate) fn capacity(&self) -> u64 {
        self.memory.capacity()
    }

    /// Returns how many answers had to go for others.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted.load(Relaxed)
    }
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderName, HeaderValue, StatusCode};
    use jiff::Timestamp;
    use portway_model::site::Cache;

    use super::{
        super::{
            content::Content,
            key::tests::key,
            rules::CompiledCache,
            terms::{Terms, Times},
        },
        *,
    };

    fn own() -> Own {
        Own { scope: 1, added: Box::default() }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    fn put(
        store: &Store,
        key: &Key,
        asked: &[(&'static str, &'static str)],
        answer: &[(&'static str, &'static str)],
        body: Vec<u8>,
    ) {
        let mut answer = headers(answer);
        answer.insert("cache-control", HeaderValue::from_static("max-age=60"));
        let now = Timestamp::now();
        let times = Times { asked: now, answered: now };
        let terms = Terms::of(&CompiledCache::of(Cache::default()), 200, &answer, times).unwrap();
        let variant = Variant::of(own(), &headers(asked), &answer).unwrap();
        let content = Content::of(vec![Bytes::from(body)]);
        let kept = Kept::new(StatusCode::OK, answer, content, terms);
        assert!(store.keep(key, variant, kept, || false));
    }

    fn has(store: &Store, key: &Key) -> bool {
        store.find(key, &own(), &HeaderMap::new()).kept.is_some()
    }

    fn site(n: u128) -> Id<Site> {
        Id::from_uuid(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn each_variant_is_found_by_the_requests_that_it_is_for() {
        let store = Store::new(1_000_000);
        let key = key(1, true, "a.example", "/");
        for (language, body) in [("de", "eins"), ("en", "one"), ("de", "zwei")] {
            put(
                &store,
                &key,
                &[("accept-language", language)],
                &[("vary", "accept-language")],
                body.into(),
            );
        }
        let found = |language| {
            let found = store.find(&key, &own(), &headers(&[("accept-language", language)]));
            (found.kept.map(|kept| kept.content.len()), found.has_others)
        };
        assert_eq!(found("de"), (Some(4), false));
        assert_eq!(found("en"), (Some(3), false));
        assert_eq!(found("fr"), (None, true));
        assert_eq!(store.tally(site(1)).objects, 2, "the later one took the place of the earlier");
    }

    #[test]
    fn a_url_has_a_bounded_number_of_variants() {
        let store = Store::new(10_000_000);
        let key = key(1, true, "a.example", "/");
        for n in 0..200_usize {
            let asked: &'static str = n.to_string().leak();
            put(&store, &key, &[("x-a", asked)], &[("vary", "x-a")], vec![0; 10]);
        }
        assert_eq!(store.tally(site(1)).objects, length(MOST_VARIANTS));
    }

    #[test]
    fn variants_of_a_url_go_where_they_have_no_place_together() {
        let store = Store::new(1_000_000);
        let key = key(1, true, "a.example", "/");
        for language in ["de", "en", "fr"] {
            let (asked, vary) = ([("accept-language", language)], [("vary", "accept-language")]);
            put(&store, &key, &asked, &vary, vec![0; 400_000]);
            let found = store.find(&key, &own(), &headers(&asked));
            assert!(found.kept.is_some(), "the latest one stays: {language}");
        }
        assert_eq!(store.tally(site(1)).objects, 1);
    }

    #[test]
    fn that_answers_are_for_nobody_else_is_known_by_who_asks() {
        let store = Store::new(1_000_000);
        let key = key(1, true, "a.example", "/");
        store.refuse(&key, Personal::ByCookie);
        let refused = |who| store.find(&key, &own(), &HeaderMap::new()).is_refused(who);
        assert!(refused(Personal::ByCookie) && !refused(Personal::No));
        store.refuse(&key, Personal::No);
        assert!(refused(Personal::ByCookie) && refused(Personal::No));
        put(&store, &key, &[], &[], vec![0; 10]);
        assert!(!refused(Personal::No), "something is kept");
        store.refuse(&key, Personal::No);
        assert!(has(&store, &key), "what is kept stays");
    }

    #[test]
    fn what_is_outdated_is_not_kept() {
        let store = Store::new(1_000_000);
        let key = key(1, true, "a.example", "/");
        put(&store, &key, &[], &[], vec![0; 10]);
        let old = store.find(&key, &own(), &HeaderMap::new()).kept.unwrap();
        store.forget(&key);
        let variant = Variant::of(own(), &HeaderMap::new(), &old.headers).unwrap();
        let kept = Kept::new(old.status, old.headers.clone(), old.content.clone(), old.terms);
        assert!(!store.keep(&key, variant, kept, || true));
        assert!(!has(&store, &key));
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let store = Store::new(1_000_000);
        let often = key(1, true, "a.example", "/often");
        put(&store, &often, &[], &[], vec![0; 10_000]);
        for n in 0..1_000 {
            put(&store, &key(1, true, "a.example", &format!("/{n}")), &[], &[], vec![0; 10_000]);
            assert!(has(&store, &often), "gone after {n}");
            assert!(store.used() <= 1_000_000, "{}", store.used());
        }
        assert!(store.evicted() > 800, "{}", store.evicted());
    }

    #[test]
    fn what_is_purged_is_gone_and_nothing_else() {
        let targets = ["/", "/a", "/a?x=1", "/a/b", "/ab", "/c"];
        let after = |what: PurgeWhat| {
            let store = Store::new(10_000_000);
            for target in targets {
                let tags = [("cache-tag", "all, other"), ("surrogate-key", "x y")];
                let tags = if target == "/c" { &tags[..] } else { &[] };
                put(&store, &key(1, true, "a.example", target), &[], tags, vec![0; 10]);
                put(&store, &key(2, true, "a.example", target), &[], tags, vec![0; 10]);
            }
            let count = store.purge(site(1), &what);
            assert!(targets.iter().all(|target| has(&store, &key(2, true, "a.example", target))));
            let left =
                targets.iter().filter(|target| has(&store, &key(1, true, "a.example", target)));
            let left: Vec<_> = left.copied().collect();
            assert_eq!(count, length(targets.len() - left.len()), "{what:?}");
            left
        };
        assert_eq!(after(PurgeWhat::All), [""; 0]);
        assert_eq!(after(PurgeWhat::Url("/a".to_owned())), ["/", "/a?x=1", "/a/b", "/ab", "/c"]);
        assert_eq!(after(PurgeWhat::Url("/a?x=1".to_owned())), ["/", "/a/b", "/ab", "/c"]);
        let url = PurgeWhat::Url("a.example/c".to_owned());
        assert_eq!(after(url), ["/", "/a", "/a?x=1", "/a/b", "/ab"]);
        assert_eq!(after(PurgeWhat::Url("b.example/c".to_owned())), targets);
        assert_eq!(after(PurgeWhat::Prefix("/a/".to_owned())), ["/", "/a", "/a?x=1", "/ab", "/c"]);
        assert_eq!(after(PurgeWhat::Prefix("a.example/a".to_owned())), ["/", "/c"]);
        let tags = |tag: &str| PurgeWhat::Tags(vec!["none".to_owned(), tag.to_owned()]);
        for tag in ["all", "other", "x", "y"] {
            assert_eq!(after(tags(tag)), ["/", "/a", "/a?x=1", "/a/b", "/ab"]);
        }
        assert_eq!(after(tags("oth")), targets);
    }
}
