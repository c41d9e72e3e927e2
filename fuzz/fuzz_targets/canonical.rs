//! Fuzzes the one form of hosts and paths: a form is its own form, and every reading of a path can
//! be given to routes.

#![no_main]
#![allow(dead_code, unreachable_pub, reason = "the edge uses more of it")]

#[path = "../../crates/edge/src"]
mod edge {
    pub(crate) mod canonical;
}

use edge::canonical;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok((form, spellings)) = canonical::spelled(text) {
        let (again, _) = canonical::spelled(&form).expect("a form is a path");
        assert_eq!(again, form);
        assert!(form.starts_with('/') && !form.contains("//"));
        let decoded = canonical::decode(&form).expect("a form can be decoded");
        assert!(!decoded.contains('\0') && !decoded.contains('\\'));
        if let Ok(readings) = canonical::readings(&form, spellings) {
            assert!(readings.contains(&decoded.into_owned()), "{form}");
        }
    }
    let Ok(value) = http::HeaderValue::from_str(text) else { return };
    let request = http::Request::builder().header("host", value).body(());
    let Ok((parts, ())) = request.map(http::Request::into_parts) else { return };
    if let Ok(host) = canonical::host(&parts) {
        let again = http::Request::builder().header("host", host.to_string()).body(());
        let (parts, ()) = again.expect("a form is a header").into_parts();
        assert_eq!(canonical::host(&parts), Ok(host));
    }
});
