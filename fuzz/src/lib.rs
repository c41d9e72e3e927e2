//! The parts of the edge that read bytes from strangers, taken in by themselves, so that a fuzzer builds
//! nothing of the rest, and the checks that hold for them ([`strangers`]).

#![allow(dead_code, unused_imports, unreachable_pub, reason = "the edge uses more of it")]

#[path = "../../crates/edge/src"]
mod edge {
    pub mod canonical;
    pub mod coding;
    pub mod cookies;
    pub mod lists;
    pub mod quality;
    pub mod strangers;
    pub mod tags;

    pub mod access {
        pub mod basic;
    }
    pub mod cache {
        pub mod directives;
    }
    pub mod files {
        pub mod conditions;
        pub mod ranges;
    }
    pub mod headers {
        pub mod client;
        pub mod forwarded;
        pub mod hop_by_hop;
    }
    pub mod pages {
        pub mod accept;
    }
}

/// Returns a text's lines, as many as are asked for.
pub fn lines<const N: usize>(text: &str) -> [&str; N] {
    let mut lines = text.split('\n');
    std::array::from_fn(|_| lines.next().unwrap_or_default())
}

/// The checks, for the targets.
pub mod strangers {
    use crate::edge::strangers;

    macro_rules! checks {
        ($($name:ident($($of:ident: $type:ty),*);)*) => {$(
            #[doc = concat!("Checks what `", stringify!($name), "` promises.")]
            pub fn $name($($of: $type),*) {
                strangers::$name($($of),*);
            }
        )*};
    }

    checks! {
        accept(text: &str);
        authorization(bytes: &[u8]);
        cache_control(first: &str, second: &str);
        conditions(lines: [&str; 6]);
        connection(bytes: &[u8]);
        cookie(line: &[u8]);
        forwarded(bytes: &[u8]);
        place(text: &str);
        range(text: &str, length: u64);
        tag_list(text: &str);
    }
}

use edge::{
    access, cache, canonical, coding, cookies, files, headers, lists, pages, quality, tags,
};
