//! The checks, for generated messages.

use proptest::{collection::vec, prelude::*};

use crate::{checks, generate};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn requests_keep_the_promises(bytes in generate::requests()) {
        checks::request(&bytes);
    }

    #[test]
    fn responses_keep_the_promises(bytes in generate::responses()) {
        checks::response(&bytes);
    }

    #[test]
    fn chunked_bodies_keep_the_promises(bytes in generate::chunked_bodies()) {
        checks::chunked(&bytes);
    }

    #[test]
    fn any_bytes_keep_the_promises(bytes in vec(any::<u8>(), 0..300)) {
        checks::request(&bytes);
        checks::response(&bytes);
        checks::chunked(&bytes);
    }
}
