//! Content codings, and which of them a client takes (RFC 9110 §12.5.3).

use http::HeaderValue;

use crate::quality;

/// A content coding that the edge speaks; listed as preferred among equals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
    /// RFC 1952.
    Gzip,
}

/// What a client takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// The best one first.
    ranked: [Option<Coding>; Coding::PREFERRED.len()],
    identity_refused: bool,
}

impl Coding {
    const PREFERRED: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// Returns its name in headers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// Returns what the name of a file ends with that is coded so.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
        }
    }

    /// Returns the name of the file that a name stands for with a coding's suffix.
    pub(crate) fn strip_suffix(name: &str) -> Option<&str> {
        Self::PREFERRED.iter().find_map(|coding| name.strip_suffix(coding.suffix()))
    }

    fn is_named(self, name: &str) -> bool {
        let alias = self == Self::Gzip && name.eq_ignore_ascii_case("x-gzip");
        alias || name.eq_ignore_ascii_case(self.name())
    }
}

impl Accepted {
    /// Ranks the codings that a client takes by their qualities. One that it likes less than no
    /// coding at all is none it is given.
    pub(crate) fn of(accept_encoding: Option<&HeaderValue>) -> Self {
        let Some(list) = accept_encoding.and_then(|value| value.to_str().ok()) else {
            return Self::default();
        };
        let rest = wish(list, |name| name == "*");
        let identity = wish(list, |name| name.eq_ignore_ascii_case("identity"));
        let least = identity.unwrap_or(0).max(1);
        let mut wishes = Coding::PREFERRED.map(|coding| {
            let quality = wish(list, |name| coding.is_named(name)).or(rest).unwrap_or(0);
            (coding, quality)
        });
        // Equals stay in their order.
        wishes.sort_by_key(|(_, quality)| std::cmp::Reverse(*quality));
        Self {
            ranked: wishes.map(|(coding, quality)| (quality >= least).then_some(coding)),
            identity_refused: identity.or(rest) == Some(0),
        }
    }

    /// Returns them, the best one first.
    pub(crate) fn ranked(self) -> impl Iterator<Item = Coding> {
        self.ranked.into_iter().flatten()
    }

    /// Tells whether the client refuses what is not coded at all.
    pub(crate) fn refuses_identity(self) -> bool {
        self.identity_refused
    }
}

fn wish(list: &str, is_meant: impl Fn(&str) -> bool) -> Option<u16> {
    quality::parse(list).find(|(name, _)| is_meant(name)).map(|(_, quality)| quality)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn codings_are_ranked_as_the_client_likes_them() {
        use Coding::{Brotli, Gzip, Zstd};
        for (header, expected) in [
            ("", &[][..]),
            ("gzip, deflate, br, zstd", &[Brotli, Zstd, Gzip]),
            ("gzip, br;q=0.5", &[Gzip, Brotli]),
            ("x-gzip", &[Gzip]),
            ("*", &[Brotli, Zstd, Gzip]),
            ("*;q=0.5, gzip", &[Gzip, Brotli, Zstd]),
            ("br;q=0, *", &[Zstd, Gzip]),
            ("*;q=0", &[]),
            ("identity", &[]),
            ("gzip;q=0.5, br, identity;q=0.8", &[Brotli]),
            ("gzip;q=0.5, identity;q=0.5", &[Gzip]),
            ("identity;q=0, gzip;q=0.1", &[Gzip]),
        ] {
            let accepted = Accepted::of(Some(&HeaderValue::from_static(header)));
            assert_eq!(accepted.ranked().collect::<Vec<_>>(), expected, "{header}");
        }
        assert_eq!(Accepted::of(None), Accepted::default());
        let refuses =
            |header| Accepted::of(Some(&HeaderValue::from_static(header))).refuses_identity();
        assert!(refuses("identity;q=0") && refuses("gzip, *;q=0"));
        assert!(!refuses("gzip") && !refuses("*;q=0, identity"));
    }

    proptest! {
        /// Each is ranked by the quality that its name or else the star has.
        #[test]
        fn the_ranking_is_what_a_naive_reading_gives(
            items in prop::collection::vec((0_usize..5, 0_u16..=10), 0..6)
        ) {
            let names = ["br", "zstd", "gzip", "identity", "*"];
            let text: Vec<_> = items.iter().map(|(name, tenths)| {
                format!("{};q={}.{}", names[*name], tenths / 10, tenths % 10)
            }).collect();
            let header = HeaderValue::try_from(text.join(", ")).unwrap();
            let quality = |name: &str| {
                items.iter().find(|(at, _)| names[*at] == name).map(|(_, tenths)| *tenths)
            };
            let of = |coding: Coding| quality(coding.name()).or(quality("*")).unwrap_or(0);
            let identity = quality("identity");

            let ranked: Vec<Coding> = Accepted::of(Some(&header)).ranked().collect();

            for coding in Coding::PREFERRED {
                let wanted = of(coding) > 0 && identity.is_none_or(|least| of(coding) >= least);
                prop_assert_eq!(ranked.contains(&coding), wanted, "{:?} in {:?}", coding, header);
            }
            for pair in ranked.windows(2) {
                let place = |coding| Coding::PREFERRED.iter().position(|one| *one == coding);
                let (first, second) = (pair[0], pair[1]);
                let better = of(first) > of(second)
                    || of(first) == of(second) && place(first) < place(second);
                prop_assert!(better, "{:?} in {:?}", ranked, header);
            }
        }
    }
}
